"""When an upstream may be asked: ``22-06`` in UTC."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """A stretch of every day; past midnight where it ends before it begins."""

    opens_s: int
    """Seconds after midnight, UTC."""
    closes_s: int

    @classmethod
    def parse(cls, text: str) -> OpeningHours:
        """Return the hours that ``22-06`` or ``08:30-17:00`` mean."""
        opens, closes = text.split("-")
        return cls(_second_of_day(opens), _second_of_day(closes))

    def is_open(self, time_s: float) -> bool:
        """Return whether it is open at this Unix time; where both ends are one, always."""
        length_s = (self.closes_s - self.opens_s) % _DAY_S or _DAY_S
        return (time_s - self.opens_s) % _DAY_S < length_s

    def opens_in_s(self, time_s: float) -> float:
        """Return how long it stays closed from this Unix time on."""
        return 0.0 if self.is_open(time_s) else (self.opens_s - time_s) % _DAY_S


def _second_of_day(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 3600 + int(minutes or 0) * 60
