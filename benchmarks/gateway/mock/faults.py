"""Answers that are none."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.gateway.mock.knobs import Fault, Knobs
from benchmarks.gateway.mock.plan import Ending, Plan, body_plan, error_plan
from benchmarks.gateway.mock.rate_limits import retry_headers

_PAGE = b"<!doctype html><title>Maintenance</title><p>Please come back later."
_STATUSES = {"error_500": 500, "error_503": 503}
_HALVES: Mapping[str, Ending] = {
    "reset_middle": "reset",
    "hang_middle": "hang",
    "half_close": "half_close",
}
_NONE: Mapping[str, Ending] = {"reset_before": "reset", "hang": "hang"}
_LIES = (
    ("retry-after", "soon"),
    ("retry-after-ms", "-5"),
    ("x-ratelimit-remaining-tokens", "1e99"),
    ("x-ratelimit-reset-requests", "yesterday"),
)


def pick(knobs: Knobs, draw: float) -> Fault | None:
    """Return the fault that a draw between 0 and 1 falls on."""
    for fault, share in knobs.faults.items():
        draw -= share
        if draw < 0:
            return fault
    return None


def spoil(fault: Fault, plan: Plan, knobs: Knobs) -> Plan:
    """Return what is written instead of the plan."""
    if fault in _STATUSES:
        return error_plan(_STATUSES[fault], "The upstream failed.", "server_error")
    if fault in _NONE:
        return Plan((), ending=_NONE[fault])
    if fault in _HALVES:
        return plan.half(_HALVES[fault])
    if fault == "garbage":
        return body_plan(b'{"choices": [{"mess\xff\xfe')
    if fault == "lie_type":
        return body_plan(_PAGE)
    if fault == "lie_length":
        return _too_short()
    return error_plan(429, "Too many.", "rate_limit_exceeded", refusal_headers(fault, knobs))


def refusal_headers(fault: Fault, knobs: Knobs) -> list[tuple[str, str]]:
    """Return what the faults of status 429 say of when to come again."""
    if fault == "lie_limits":
        return list(_LIES)
    headers = retry_headers(knobs.retry_after_s, announce_ms=fault == "error_429_ms")
    wanted = {"error_429": "retry-after", "error_429_ms": "retry-after-ms"}.get(fault)
    return [header for header in headers if header[0] == wanted]


def _too_short() -> Plan:
    whole = body_plan(b'{"id": "mock", "choices": []' + b" " * 100).frames[0]
    return Plan((whole[:-100],), ending="close")
