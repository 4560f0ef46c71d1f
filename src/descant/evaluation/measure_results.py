"""One indicator in every measure, each with its interval.

Key: ``N`` rows, ``L`` labels, ``M`` measures, ``B`` resamples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from descant.evaluation.measures import MEASURES, ORDINAL_MEASURES, f1_bounds, label_f1s
from descant.evaluation.statistics import (
    Estimate,
    FloatArray,
    IntArray,
    bootstrap_values,
    wilson_interval,
)
from descant.schema import Indicator


@dataclass(frozen=True)
class LabelResult:
    """How well one label is told from the others."""

    support: int
    """Rows where it is right."""
    answered: int
    """Rows where it was answered."""
    precision: Estimate | None
    """None where it was never answered."""
    recall: Estimate | None
    """None where it is never right."""
    f1: Estimate | None
    """None where neither."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def label_results(indicator: Indicator, tally: IntArray) -> dict[str, LabelResult]:
    """Return the figures of each label of a tally ``[L, L + 1]``, with Wilson's intervals."""
    return {label: _label_result(tally, at) for at, label in enumerate(indicator.labels)}


def measure_estimates(
    indicator: Indicator, tallies: IntArray, seed: int
) -> dict[str, Estimate | None]:
    """Return every measure of tallies ``[N, L, L + 1]`` with its interval; None if not defined.

    Where all resamples are alike (all right, or all wrong), of which a bootstrap knows nothing, one
    imagined right row and one wrong row are drawn along.
    """
    measures = {**MEASURES, **(ORDINAL_MEASURES if indicator.kind == "ordinal" else {})}

    def stacked(tally: IntArray) -> FloatArray:
        return np.stack([measure(tally) for measure in measures.values()], axis=-1)

    whole = stacked(tallies.sum(axis=0))
    drawn = bootstrap_values(tallies, stacked, seed=seed)
    if any(_is_constant(column) for column in drawn.T):
        imagined = bootstrap_values(tallies, stacked, seed=seed, imagined=_twins(tallies))
        constant = [_is_constant(column) for column in drawn.T]
        drawn[:, constant] = imagined[:, constant]
    return {
        name: _estimate(float(value), column)
        for name, value, column in zip(measures, whole, drawn.T, strict=True)
    }


def _label_result(tally: IntArray, at: int) -> LabelResult:
    hits, support, answered = int(tally[at, at]), int(tally[at].sum()), int(tally[:, at].sum())
    bounds, f1 = f1_bounds(tally, [at]), float(label_f1s(tally)[at])
    return LabelResult(
        support,
        answered,
        _share(hits, answered),
        _share(hits, support),
        bounds and Estimate(f1, min(f1, bounds.low), max(f1, bounds.high)),
    )


def _share(hits: int, total: int) -> Estimate | None:
    found = wilson_interval(hits, total)
    return found and Estimate(hits / total, *found)


def _estimate(value: float, drawn: FloatArray) -> Estimate | None:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(known) == 0:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def _is_constant(column: FloatArray) -> bool:
    known = column[~np.isnan(column)]
    return len(known) > 0 and float(np.ptp(known)) == 0


def _twins(tallies: IntArray) -> IntArray:
    """Return a right and a wrong row for each, ``[2 N, L, L + 1]``."""
    count, num_labels = tallies.shape[:2]
    right = tallies.sum(axis=-1).argmax(axis=-1)
    wrong = np.where(right < num_labels / 2, num_labels - 1, 0)
    twins = np.zeros((2, *tallies.shape), dtype=np.int64)
    twins[0, np.arange(count), right, right] = 1
    twins[1, np.arange(count), right, wrong] = 1
    return np.concatenate([*twins])
