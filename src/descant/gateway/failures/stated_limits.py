"""What an upstream says of its limits with each response.

Read are OpenAI's and Azure's ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` and
Anthropic's ``anthropic-ratelimit-{requests,tokens,…}-{limit,remaining,reset}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from descant.gateway.failures.header_text import count, http_date, number, rfc3339, span_s

LONGEST_WAIT_S = 86_400.0
"""A longer wait is held for a day, and then the upstream is asked again."""
# More than that is no wait: the usual mistake is a Unix time in place of a span.
_LONGEST_SENSIBLE_S = 31 * 86_400.0
_ANTHROPIC_TOKENS = ("tokens", "input-tokens", "output-tokens")


@dataclass(frozen=True, slots=True)
class StatedLimit:
    """One limit as one response states it; None is what it does not say."""

    limit: int | None
    remaining: int | None
    reset_s: float | None
    """Until all of it is there again."""


def response_time(headers: Mapping[str, str], now_utc: datetime) -> datetime:
    """Return the moment by the upstream's own clock, else ours: its dates are meant against its own."""
    return http_date(headers.get("date")) or now_utc


def sensible_wait_s(wait_s: float | None) -> float | None:
    """Return the wait, a day at most; None if it is negative or no wait at all."""
    if wait_s is None or not 0 <= wait_s <= _LONGEST_SENSIBLE_S:
        return None
    return min(wait_s, LONGEST_WAIT_S)


def requests_limit(headers: Mapping[str, str], now_utc: datetime) -> StatedLimit | None:
    """Return what is said of requests; None if nothing is."""
    return _openai(headers, "requests") or _anthropic(headers, "requests", now_utc)


def tokens_limit(headers: Mapping[str, str], now_utc: datetime) -> StatedLimit | None:
    """Return what is said of tokens; None if nothing is.

    Where an upstream counts read and written tokens apart, the one with the least left counts.
    """
    if (stated := _openai(headers, "tokens")) is not None:
        return stated
    several = [_anthropic(headers, kind, now_utc) for kind in _ANTHROPIC_TOKENS]
    found = [stated for stated in several if stated is not None]
    return min(found, key=_room) if found else None


def _openai(headers: Mapping[str, str], kind: str) -> StatedLimit | None:
    stated = StatedLimit(
        count(headers.get(f"x-ratelimit-limit-{kind}")) or None,
        count(headers.get(f"x-ratelimit-remaining-{kind}")),
        sensible_wait_s(span_s(headers.get(f"x-ratelimit-reset-{kind}"))),
    )
    return None if stated == _NOTHING else stated


def _anthropic(headers: Mapping[str, str], kind: str, now_utc: datetime) -> StatedLimit | None:
    stated = StatedLimit(
        count(headers.get(f"anthropic-ratelimit-{kind}-limit")) or None,
        count(headers.get(f"anthropic-ratelimit-{kind}-remaining")),
        _until_s(headers, f"anthropic-ratelimit-{kind}-reset", now_utc),
    )
    return None if stated == _NOTHING else stated


def _until_s(headers: Mapping[str, str], name: str, now_utc: datetime) -> float | None:
    if (text := headers.get(name)) is None:
        return None
    if (moment := rfc3339(text)) is None:
        return sensible_wait_s(number(text))
    return sensible_wait_s((moment - response_time(headers, now_utc)).total_seconds())


def _room(stated: StatedLimit) -> float:
    return float("inf") if stated.remaining is None else stated.remaining


# A limit of zero is how some upstreams spell "none", so it is read as not stated.
_NOTHING = StatedLimit(None, None, None)
