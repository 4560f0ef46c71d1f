"""Numbers, spans and moments as upstreams write them into headers.

Each function returns None for what it cannot read, whatever the bytes; none raises. Only plain
ASCII digits are numbers: `float` would also take ``1_000``, ``nan``, ``1e999`` and other scripts' digits.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,9})?", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_SPAN_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?)(ms|us|µs|ns|d|h|m|s)")
_LONGEST_TEXT = 64
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) "
    r"(?:GMT|UTC|\+0000)"
)


def number(text: str | None) -> float | None:
    """Return a number that is not negative."""
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def count(text: str | None) -> int | None:
    """Return a whole number that is not negative."""
    text = (text or "").strip()
    return int(text) if _COUNT.fullmatch(text) else None


def span_s(text: str | None) -> float | None:
    """Return seconds from a plain number or from parts with units: ``1s``, ``6m0s``, ``120ms``."""
    text = (text or "").strip()
    if (plain_s := number(text)) is not None:
        return plain_s
    parts = _SPAN_PART.findall(text[:_LONGEST_TEXT])
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return sum(float(amount) * _UNIT_S[unit] for amount, unit in parts)


def http_date(text: str | None) -> datetime | None:
    """Return the moment of an IMF-fixdate (RFC 9110, section 5.6.7), the one form servers may send."""
    found = _HTTP_DATE.fullmatch((text or "").strip())
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def rfc3339(text: str | None) -> datetime | None:
    """Return the moment of a date and time with its offset: ``2026-11-22T03:42:13Z``."""
    text = (text or "").strip()
    if len(text) > _LONGEST_TEXT or not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment
