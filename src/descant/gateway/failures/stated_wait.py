"""How long a refusal asks to be left alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from descant.gateway.failures.header_text import http_date, number
from descant.gateway.failures.stated_limits import (
    StatedLimit,
    requests_limit,
    response_time,
    sensible_wait_s,
    tokens_limit,
)

_FIRST_REFUSAL = 400
_TOO_MANY_REQUESTS = 429


def stated_wait_s(status: int, headers: Mapping[str, str], now_utc: datetime) -> float | None:
    """Return the wait in seconds that a response states; None if it states none that makes sense.

    In this order: ``retry-after-ms``, ``Retry-After`` (seconds, or a date against the response's own),
    and for 429 alone the reset of requests and that of tokens. `headers` has names in lower case or
    does not mind the case. Nonsense is passed over, and the next header counts.
    """
    if status < _FIRST_REFUSAL:
        return None
    wait_s = _retry_after_ms_s(headers)
    if wait_s is None:
        wait_s = _retry_after_s(headers, now_utc)
    if wait_s is None and status == _TOO_MANY_REQUESTS:
        return _reset_s(headers, now_utc)
    return wait_s


def _retry_after_ms_s(headers: Mapping[str, str]) -> float | None:
    wait_ms = number(headers.get("retry-after-ms"))
    return None if wait_ms is None else sensible_wait_s(wait_ms / 1000)


def _retry_after_s(headers: Mapping[str, str], now_utc: datetime) -> float | None:
    text = headers.get("retry-after")
    if (wait_s := number(text)) is not None:
        return sensible_wait_s(wait_s)
    if (until := http_date(text)) is None:
        return None
    return sensible_wait_s((until - response_time(headers, now_utc)).total_seconds())


def _reset_s(headers: Mapping[str, str], now_utc: datetime) -> float | None:
    """Return when that limit is whole again which was met: one with something left was not."""
    requests = requests_limit(headers, now_utc)
    if (wait_s := _spent_reset_s(requests)) is not None:
        return wait_s
    tokens = tokens_limit(headers, now_utc)
    return None if tokens is None else tokens.reset_s


def _spent_reset_s(stated: StatedLimit | None) -> float | None:
    if stated is None or stated.remaining:
        return None
    return stated.reset_s
