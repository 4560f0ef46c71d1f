"""When the first byte comes."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.gateway.mock.knobs import Latency


def delay_s(latency: Latency, draw: float, since_s: float) -> float:
    """Return the seconds to wait.

    `draw` is uniform between 0 and 1; `since_s` is how long the knob has stood as it is.
    """
    wait_s = _quantile(latency, draw) if latency.quantiles else latency.fixed_s
    return wait_s * _spike(latency, since_s) * _ramp(latency, since_s)


def _quantile(latency: Latency, draw: float) -> float:
    points = latency.quantiles
    if draw <= points[0][0]:
        return points[0][1]
    for (low, low_s), (high, high_s) in pairwise(points):
        if draw <= high:
            return low_s + (high_s - low_s) * (draw - low) / (high - low)
    return points[-1][1]


def _spike(latency: Latency, since_s: float) -> float:
    every_s = latency.spike_every_s
    return latency.spike_factor if every_s and since_s % every_s < latency.spike_for_s else 1.0


def _ramp(latency: Latency, since_s: float) -> float:
    if not latency.ramp_for_s:
        return 1.0
    done = min(1.0, since_s / latency.ramp_for_s)
    return 1.0 + (latency.ramp_factor - 1.0) * done
