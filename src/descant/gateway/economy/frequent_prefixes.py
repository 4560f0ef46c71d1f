"""Which beginnings of prompts come again and again."""

from __future__ import annotations

_MOST_COUNTERS = 128
_HORIZON = 4096
_LEAST_SEEN = 20


class FrequentPrefixes:
    """Counts beginnings in bounded memory (Space-Saving; Metwally et al. 2005).

    A count is at most a 128th of all too high. Every 4,096 observations all counts are halved, so that
    a prompt that is no longer used is forgotten.
    """

    def __init__(self, least_share: float):
        """`least_share` of the requests must begin so; well above a 128th."""
        self._least_share = least_share
        self._counts: dict[int, int] = {}
        self._total = 0

    def count_request(self) -> None:
        """Note that one more request has come."""
        self._total += 1
        if self._total >= _HORIZON:
            self._total //= 2
            self._counts = {key: count // 2 for key, count in self._counts.items() if count > 1}

    def observe(self, key: int) -> bool:
        """Count a beginning, and return whether it is a constant one by now."""
        count = self._counts.get(key)
        if count is None:
            count = self._free() if len(self._counts) >= _MOST_COUNTERS else 0
        self._counts[key] = count + 1
        return self._total >= _LEAST_SEEN and count + 1 >= self._least_share * self._total

    def _free(self) -> int:
        """Give up the rarest, and return its count: the newcomer may have been counted there."""
        rarest = min(self._counts, key=self._counts.__getitem__)
        return self._counts.pop(rarest)
