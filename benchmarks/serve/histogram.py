"""Quantiles of a Prometheus histogram, as far as its buckets tell."""

from __future__ import annotations

import math
import re


def quantile(metrics: str, name: str, share: float) -> float:
    """Return the smallest bucket limit that at least this share is at or below, in seconds.

    `metrics` is the text of ``/metrics``; no finer figure is honest with buckets.
    """
    buckets = re.findall(rf'^{name}_bucket\{{[^}}]*le="([^"]+)"[^}}]*\}} (\S+)$', metrics, re.M)
    limits = [(math.inf if limit == "+Inf" else float(limit), float(n)) for limit, n in buckets]
    total = limits[-1][1]
    return next(limit for limit, count in limits if count >= share * total)
