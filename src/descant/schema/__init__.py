"""The words every room uses: plain frozen data and the errors, no behaviour beyond checking."""

from descant.schema import errors
from descant.schema.adapter import AdapterRef
from descant.schema.calibration import (
    Calibration,
    IsotonicCurve,
    IsotonicScaling,
    Scaling,
    TemperatureScaling,
    parse_calibration,
)
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
from descant.schema.precision import (
    AdapterDtype,
    KvDtype,
    Quantization,
    check_adapter_dtype,
    check_kv_dtype,
    check_quantization,
)
from descant.schema.score import Answer, Scorecard, Usage, unanswered
from descant.schema.transcript import (
    Conversation,
    LabelledTranscript,
    Transcript,
    Turn,
    to_transcript,
)

__all__ = [
    "AdapterDtype",
    "AdapterRef",
    "Answer",
    "Calibration",
    "Constraint",
    "Conversation",
    "DescantError",
    "Indicator",
    "IsotonicCurve",
    "IsotonicScaling",
    "KvDtype",
    "LabelledTranscript",
    "Message",
    "Quantization",
    "Scaling",
    "Scorecard",
    "TemperatureScaling",
    "Transcript",
    "Turn",
    "Usage",
    "check_adapter_dtype",
    "check_kv_dtype",
    "check_quantization",
    "errors",
    "indicator_toml",
    "load_indicator",
    "load_indicators",
    "parse_calibration",
    "parse_indicator",
    "pick_indicators",
    "to_transcript",
    "unanswered",
]
