"""How often something happened lately, in constant time and space."""

from __future__ import annotations

import math


class RollingCount:
    """Counts events of the last `window_s`, to the precision of one of `num_parts` parts of it."""

    def __init__(self, window_s: float, num_parts: int = 10):
        self._part_s = window_s / num_parts
        self._parts = [0] * num_parts
        self._newest = 0
        self._total = 0

    def add(self, now_s: float) -> None:
        """Count one event."""
        self._advance(now_s)
        self._parts[self._newest % len(self._parts)] += 1
        self._total += 1

    def total(self, now_s: float) -> int:
        """Return the number of events in the window."""
        self._advance(now_s)
        return self._total

    def clear(self) -> None:
        """Forget them all."""
        self._parts = [0] * len(self._parts)
        self._total = 0

    def _advance(self, now_s: float) -> None:
        part = math.floor(now_s / self._part_s)
        for gone in range(max(self._newest + 1, part - len(self._parts) + 1), part + 1):
            self._total -= self._parts[gone % len(self._parts)]
            self._parts[gone % len(self._parts)] = 0
        self._newest = max(self._newest, part)
