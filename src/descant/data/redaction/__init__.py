"""Personal values found in conversations and replaced by placeholders before anything is stored."""

from descant.data.redaction.presidio import PresidioConfig, PresidioFinder
from descant.data.redaction.redactor import (
    REDACTION_KINDS,
    Redacted,
    RedactionConfig,
    RedactionReport,
    Redactor,
    redact_rows,
)

__all__ = [
    "REDACTION_KINDS",
    "PresidioConfig",
    "PresidioFinder",
    "Redacted",
    "RedactionConfig",
    "RedactionReport",
    "Redactor",
    "redact_rows",
]
