"""Which trace a request belongs to, as `traceparent` and `tracestate` say it.

Source:
    W3C, Trace Context, level 1, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace, somewhere else."""

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""
    """What others keep there; passed on as it is."""

    def headers(self) -> dict[str, str]:
        """Return what the next one is told."""
        flags = _SAMPLED if self.is_sampled else 0
        told = {"traceparent": f"00-{self.trace_id:032x}-{self.span_id:016x}-{flags:02x}"}
        return {**told, "tracestate": self.state} if self.state else told


def read_trace_context(headers: Mapping[str, str]) -> TraceContext | None:
    """Return where a request comes from; None where it does not say so, or not rightly.

    `headers` are found by names in lower case.
    """
    found = _PARENT.fullmatch(headers.get("traceparent", "").strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if int(trace_id, 16) == 0 or int(span_id, 16) == 0:
        return None
    state = headers.get("tracestate", "")
    return TraceContext(
        int(trace_id, 16),
        int(span_id, 16),
        bool(int(flags, 16) & _SAMPLED),
        state if _STATE.fullmatch(state) else "",
    )
