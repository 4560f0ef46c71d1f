"""Which day and which month it is in UTC, and when they end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from descant.gateway.limits.claim import Period

_DAY_S = 86_400
_NO_MONTH_IS_LONGER = timedelta(days=31)


class Calendar:
    """The current day and month; worked out once a day."""

    def __init__(self) -> None:
        self._day: int | None = None
        self._starts: dict[Period, date] = {}
        self._ends_s: dict[Period, int] = {}

    def start(self, period: Period, utc_s: float) -> date:
        """Return the first day of the period."""
        self._turn(utc_s)
        return self._starts[period]

    def left_s(self, period: Period, utc_s: float) -> float:
        """Return how long the period lasts yet."""
        self._turn(utc_s)
        return self._ends_s[period] - utc_s

    def _turn(self, utc_s: float) -> None:
        day = int(utc_s // _DAY_S)
        if day == self._day:
            return
        today = datetime.fromtimestamp(day * _DAY_S, UTC).date()
        month = today.replace(day=1)
        self._day = day
        self._starts = {"day": today, "month": month}
        next_month = (month + _NO_MONTH_IS_LONGER).replace(day=1)
        self._ends_s = {"day": (day + 1) * _DAY_S, "month": _epoch_s(next_month)}


def _epoch_s(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY_S
