"""Quantiles of lengths in bounded memory, each right within two per cent."""

from __future__ import annotations

import math

_GROWTH = 1.04
_LOG_GROWTH = math.log(_GROWTH)


class LengthSketch:
    """Counts lengths in buckets that grow by four per cent (as DDSketch does; Masson et al. 2019)."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._buckets: dict[int, int] = {}

    def add(self, length: int) -> None:
        """Count one length; fewer than 600 buckets are enough for all below 10 billion."""
        self.count += 1
        self.total += length
        bucket = math.ceil(math.log(length) / _LOG_GROWTH) if length > 0 else -1
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def quantile(self, share: float) -> float | None:
        """Return the length that so large a share does not pass; None of nothing."""
        left = math.ceil(share * self.count)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return _middle(bucket)
        return None


def _middle(bucket: int) -> float:
    """The value that no member of the bucket is further away from than two per cent."""
    return 0.0 if bucket < 0 else 2 * _GROWTH**bucket / (1 + _GROWTH)
