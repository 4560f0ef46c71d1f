"""Scores of single rows, for outputs that are not labels; what has no score says why.

A row without a score is neither 0 nor left out in silence: it is counted, with its reason, beside the
mean of the others. Nothing here is ever NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from descant.evaluation.statistics import Estimate, FloatArray, bootstrap_interval, wilson_interval
from descant.schema.errors import InvalidData

Output = TypeVar("Output")


@dataclass(frozen=True)
class Unscored:
    """A row that nothing can be said about."""

    reason: str


RowScore = float | Unscored


@dataclass(frozen=True)
class MeanScore:
    """The mean of the scored rows, and how many have none."""

    mean: Estimate | None
    """None without a scored row."""
    scored: int
    unscored: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Rows by why they have no score."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def mean_score(scores: Sequence[RowScore], seed: int = 0, *, least: float = 0.0) -> MeanScore:
    """Return the mean of the scored rows with its 95 % interval; the seed is the bootstrap's.

    Scores reach from `least` to 1.

    Shares of yes and no get Wilson's interval, other scores a bootstrap's.

    Raises:
        InvalidData: a score is not a number from there to there.
    """
    values = [score for score in scores if not isinstance(score, Unscored)]
    if any(not least <= value <= 1 for value in values):
        raise InvalidData(
            f"A score must be a number from {least:g} to 1.",
            field="scores",
            remedy="A row that has none is `Unscored`, with the reason.",
        )
    reasons = Counter(score.reason for score in scores if isinstance(score, Unscored))
    unscored = len(scores) - len(values)
    return MeanScore(_mean(values, seed), len(values), unscored, dict(reasons.most_common()))


def score_rows(
    expected: Sequence[Output],
    outputs: Sequence[Output | None],
    score: Callable[[Output, Output], float],
    seed: int = 0,
) -> MeanScore:
    """Return the mean score of outputs beside what was expected; an output of None is unscored.

    Raises:
        InvalidData: there are not as many outputs as expected ones.
    """
    if len(expected) != len(outputs):
        raise InvalidData(
            f"{len(outputs)} outputs for {len(expected)} expected ones.", field="outputs"
        )
    rows: list[RowScore] = [
        Unscored("no output") if output is None else score(right, output)
        for right, output in zip(expected, outputs, strict=True)
    ]
    return mean_score(rows, seed)


def _mean(values: Sequence[float], seed: int) -> Estimate | None:
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if set(values) <= {0.0, 1.0}:
        bounds = wilson_interval(round(math.fsum(values)), len(values))
    else:
        rows: FloatArray = np.stack([np.array(values), np.ones(len(values))], axis=1)
        bounds = bootstrap_interval(rows, _mean_of, seed=seed)
    assert bounds is not None, "there are values"
    return Estimate(mean, min(mean, bounds.low), max(mean, bounds.high))


def _mean_of(sums: FloatArray) -> FloatArray:
    means: FloatArray = sums[:, 0] / sums[:, 1]
    return means
