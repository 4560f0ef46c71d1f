"""Where the time of one request went; told in `server-timing`, to the ledger and to the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Part = Literal[
    "read", "auth", "limit", "cache", "route", "upstream_first_byte", "upstream", "settle"
]
_ELSEWHERE: tuple[Part, Part] = ("upstream_first_byte", "upstream")


class Timings:
    """Cuts a request's time into parts, end to end: what lies between two marks is the second's.

    A part that comes twice, as with a second attempt, is added up.
    """

    __slots__ = ("_clock", "_last_s", "_parts", "_started_s")

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._started_s = self._last_s = clock()
        self._parts: dict[Part, float] = {}

    def mark(self, part: Part) -> None:
        """Say what the time since the last mark was spent on."""
        now_s = self._clock()
        parts = self._parts
        parts[part] = parts.get(part, 0.0) + now_s - self._last_s
        self._last_s = now_s

    @property
    def total_s(self) -> float:
        """Up to the last mark."""
        return self._last_s - self._started_s

    @property
    def added_s(self) -> float:
        """What the gateway itself took, up to the last mark."""
        parts = self._parts
        return self.total_s - sum(parts.get(part, 0.0) for part in _ELSEWHERE)

    def seconds(self) -> dict[Part, float]:
        """Return the parts so far, in the order in which they first came."""
        return dict(self._parts)

    def header(self) -> str:
        """Return the value of ``server-timing``, in milliseconds; of a stream: up to its first byte.

        Source:
            W3C, Server Timing, section 3.
        """
        parts = [f"{part};dur={spent * 1e3:.3f}" for part, spent in self._parts.items()]
        return ", ".join([*parts, f"total;dur={self.total_s * 1e3:.3f}"])
