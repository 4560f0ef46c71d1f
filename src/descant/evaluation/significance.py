"""Could it be chance? P-values of paired differences, and of many asked at once.

Key: ``N`` conversations, ``R`` rearrangements, ``P`` p-values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest, false_discovery_control

from descant.evaluation.statistics import FloatArray, IntArray, Tally

# Up to here all rearrangements are tried, beyond it some drawn by chance: 2^15.
_MOST_ENUMERATED = 15
_ROWS_AT_ONCE = 2048


def mcnemar_p_value(only_one_right: int, only_other_right: int) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 where the two never differ.

    Source:
        McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions or
        Percentages, 1947; in its exact form a sign test of the conversations that differ.
    """
    differing = only_one_right + only_other_right
    return float(binomtest(only_one_right, differing).pvalue) if differing else 1.0


def permutation_p_value(
    tallies: Tally,
    difference: Callable[[Tally], FloatArray],
    *,
    seed: int,
    resamples: int = 10_000,
) -> float:
    """Return the two-sided p-value of a paired difference if neither of the two is better.

    `tallies` is ``[N, 2, ...]``, what both did with each conversation; `difference` maps summed
    tallies ``[R, 2, ...]`` to ``[R]``. Between equals, who did which is as good as a coin toss, so the
    sides are exchanged conversation by conversation. Exact where at most fifteen conversations differ:
    all exchanges are tried.

    Source:
        Fisher, The Design of Experiments, 1935, section 21.
    """
    differs = (tallies[:, 0] != tallies[:, 1]).reshape(len(tallies), -1).any(axis=1)
    rows, rest = tallies[differs], tallies[~differs].sum(axis=0)
    whole = rows.sum(axis=0) + rest
    observed = abs(float(difference(whole[None])[0]))
    values = [
        difference(whole - np.tensordot(swapped, rows - rows[:, ::-1], 1))
        for swapped in _exchanges(len(rows), seed, resamples)
    ]
    # What rounding tells apart is not more extreme.
    extreme = int((np.abs(np.concatenate(values)) >= observed * (1 - 1e-12)).sum())
    if len(rows) <= _MOST_ENUMERATED:
        return float(extreme / 2 ** len(rows))
    return float((extreme + 1) / (resamples + 1))


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values for many questions asked at once, in the same order.

    Below alpha none is wrong but with a chance of alpha, whatever the questions have in common.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    return [float(value) for value in np.minimum(adjusted, 1.0)]


def benjamini_hochberg_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values of which those below q are wrong in a share of q at most, in the same order.

    For looking around, where a few false alarms do little harm; a gate uses `holm_p_values`.

    Source:
        Benjamini and Hochberg, Controlling the False Discovery Rate, 1995.
    """
    if not p_values:
        return []
    return [float(value) for value in false_discovery_control(p_values, method="bh")]


def _exchanges(count: int, seed: int, resamples: int) -> list[IntArray]:
    """Return which conversations change sides, ``[R, N]`` of 0 and 1, in parts."""
    if count <= _MOST_ENUMERATED:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return np.array_split(patterns, -(-len(patterns) // _ROWS_AT_ONCE))
    generator = np.random.default_rng(seed)
    begins = range(0, resamples, _ROWS_AT_ONCE)
    sizes = [min(_ROWS_AT_ONCE, resamples - begin) for begin in begins]
    return [generator.integers(0, 2, (size, count)) for size in sizes]
