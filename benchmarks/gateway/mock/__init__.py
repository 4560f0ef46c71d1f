"""An upstream that is not there: answers in OpenAI's dialect, and fails as it is told to."""

from benchmarks.gateway.mock.counts import Counts
from benchmarks.gateway.mock.knobs import Knobs, Latency, Limits, knobs_from_json, turn
from benchmarks.gateway.mock.protocol import serving
from benchmarks.gateway.mock.upstream import MockUpstream

__all__ = [
    "Counts",
    "Knobs",
    "Latency",
    "Limits",
    "MockUpstream",
    "knobs_from_json",
    "serving",
    "turn",
]
