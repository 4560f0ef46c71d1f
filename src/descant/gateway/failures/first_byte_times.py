"""How long first bytes take, as a quantile of the latest ones in constant space."""

from __future__ import annotations

import math

_LEAST_S = 0.001
_STEP = math.log(1.1)
_NUM_BINS = 146
"""From a millisecond to about a thousand seconds."""
_GENERATION = 500


class FirstByteTimes:
    """Two generations of counts: what is read are the latest 500 to 1,000 times.

    Times are kept to one of 146 bins, each 10 % wider than the one before.
    """

    def __init__(self) -> None:
        self._older = [0] * _NUM_BINS
        self._newer = [0] * _NUM_BINS
        self._num_older = 0
        self._num_newer = 0

    def __len__(self) -> int:
        return self._num_older + self._num_newer

    def add(self, time_s: float) -> None:
        """Count one."""
        if self._num_newer == _GENERATION:
            self._older, self._num_older = self._newer, self._num_newer
            self._newer, self._num_newer = [0] * _NUM_BINS, 0
        self._newer[_bin(time_s)] += 1
        self._num_newer += 1

    def quantile_s(self, share: float) -> float | None:
        """Return a time that `share` of them do not pass, at most 10 % too long; None without any."""
        rank = math.ceil(share * len(self))
        num_passed = 0
        for index, (older, newer) in enumerate(zip(self._older, self._newer, strict=True)):
            num_passed += older + newer
            if num_passed >= max(1, rank):
                return _LEAST_S * math.exp(_STEP * index)
        return None


def _bin(time_s: float) -> int:
    if time_s <= _LEAST_S:
        return 0
    return min(_NUM_BINS - 1, math.ceil(math.log(time_s / _LEAST_S) / _STEP))
