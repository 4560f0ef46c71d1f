"""The words every room uses: plain frozen data and the errors, no behaviour beyond checking."""

from descant.schema import errors
from descant.schema.adapter import AdapterRef
from descant.schema.constraint import Constraint
from descant.schema.errors import DescantError
from descant.schema.indicator import (
    Indicator,
    indicator_toml,
    load_indicator,
    load_indicators,
    parse_indicator,
    pick_indicators,
)
from descant.schema.messages import Message
from descant.schema.precision import KvDtype, Quantization, check_kv_dtype, check_quantization
from descant.schema.score import Answer, Scorecard, Usage, unanswered
from descant.schema.transcript import (
    Conversation,
    LabelledTranscript,
    Transcript,
    Turn,
    to_transcript,
)

__all__ = [
    "AdapterRef",
    "Answer",
    "Constraint",
    "Conversation",
    "DescantError",
    "Indicator",
    "KvDtype",
    "LabelledTranscript",
    "Message",
    "Quantization",
    "Scorecard",
    "Transcript",
    "Turn",
    "Usage",
    "check_kv_dtype",
    "check_quantization",
    "errors",
    "indicator_toml",
    "load_indicator",
    "load_indicators",
    "parse_indicator",
    "pick_indicators",
    "to_transcript",
    "unanswered",
]
