"""How much passed in the last so many seconds, exactly."""

from __future__ import annotations

import math
from bisect import bisect_left

_FORGET = 10_000
"""Entries that have left the window are thrown away together, this many or more at once."""


class SlidingWindow:
    """A running sum over the last `window_s` seconds; what came `window_s` ago has left."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._times: list[float] = []
        self._sums: list[int] = []
        self._head = 0
        self._gone = 0
        self.most = 0
        """The highest sum there has been."""

    def add(self, now_s: float, amount: int) -> None:
        """Count what comes now."""
        total = self.total(now_s) + amount
        self._times.append(now_s)
        self._sums.append(self._gone + total)
        self.most = max(self.most, total)

    def total(self, now_s: float) -> int:
        """Return the sum as of now."""
        while self._head < len(self._times) and self._has_left(now_s, self._head):
            self._gone = self._sums[self._head]
            self._head += 1
        if self._head >= _FORGET:
            del self._times[: self._head], self._sums[: self._head]
            self._head = 0
        return self._sums[-1] - self._gone if self._head < len(self._sums) else 0

    def wait_s(self, now_s: float, amount: int, limit: int) -> float:
        """Return how long until so much more fits under the limit; infinity where it never does."""
        if amount > limit:
            return math.inf
        excess = self.total(now_s) + amount - limit
        if excess <= 0:
            return 0.0
        last = bisect_left(self._sums, self._gone + excess, lo=self._head)
        return self._times[last] + self._window_s - now_s

    def empty_s(self, now_s: float) -> float:
        """Return how long until all of it has left."""
        return self._times[-1] + self._window_s - now_s if self.total(now_s) else 0.0

    def _has_left(self, now_s: float, index: int) -> bool:
        return now_s >= self._times[index] + self._window_s
