"""The words every room uses: plain frozen data and the errors, no behaviour beyond checking."""

from descant.schema import errors
from descant.schema.adapter import AdapterRef
from descant.schema.constraint import Constraint
from descant.schema.errors import DescantError
from descant.schema.indicator import (
    Indicator,
    load_indicator,
    load_indicators,
    parse_indicator,
    pick_indicators,
)
from descant.schema.messages import Message
from descant.schema.score import Answer, Scorecard, Usage, unanswered
from descant.schema.transcript import LabelledTranscript, Transcript, Turn

__all__ = [
    "AdapterRef",
    "Answer",
    "Constraint",
    "DescantError",
    "Indicator",
    "LabelledTranscript",
    "Message",
    "Scorecard",
    "Transcript",
    "Turn",
    "Usage",
    "errors",
    "load_indicator",
    "load_indicators",
    "parse_indicator",
    "pick_indicators",
    "unanswered",
]
