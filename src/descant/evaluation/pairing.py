"""Two completers on the same questions, conversation by conversation.

Everything that compares two completers starts here. A conversation is drawn with everything both said
about it, so that what is hard for both does not widen the interval of their difference.

Key: ``N`` conversations, ``A`` indicators, ``L`` the most labels of any. Tallies are ``[N, 2, A, L,
L + 1]``, the second dimension the one and the other, right label by answer, last *unanswered*.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from descant.evaluation.measures import Measure, known_mean
from descant.evaluation.scorers import tallies_of
from descant.evaluation.statistics import (
    BootstrapMethod,
    Estimate,
    FloatArray,
    IntArray,
    bootstrap_interval,
    cluster_tallies,
)
from descant.evaluation.task import Outcome, Predictions
from descant.schema import Indicator
from descant.schema.errors import InvalidData

Counted = Literal["right", "answered"]


@dataclass(frozen=True)
class Split:
    """Questions by who answered them rightly."""

    both: int
    only_one: int
    only_other: int
    neither: int

    @property
    def total(self) -> int:
        """All questions."""
        return self.both + self.only_one + self.only_other + self.neither

    @property
    def discordance(self) -> float:
        """The share that only one of the two answered rightly; 0 of nothing."""
        return (self.only_one + self.only_other) / max(self.total, 1)


@dataclass(frozen=True)
class Pairing:
    """What both said about each conversation."""

    indicators: tuple[Indicator, ...]
    ids: tuple[str, ...]
    """``[N]``: of the conversations, or of what they were clustered by."""
    tallies: IntArray

    @classmethod
    def of(cls, indicators: Sequence[Indicator], one: Predictions, other: Predictions) -> Pairing:
        """Return the pairing of predictions of one task; indicators without labels are left out.

        Raises:
            InvalidData: they are not of the same conversations and indicators.
        """
        texts = {indicator.name for indicator in indicators if indicator.is_text}
        indicators = [indicator for indicator in indicators if not indicator.is_text]
        row_of: dict[str, int] = {}
        for outcome in one.outcomes:
            # A conversation that is asked for texts alone has nothing to be paired.
            if outcome.indicator not in texts:
                row_of.setdefault(outcome.transcript_id, len(row_of))
        most = max((len(indicator.labels) for indicator in indicators), default=0)
        tallies = np.zeros((len(row_of), 2, len(indicators), most, most + 1), dtype=np.int64)
        for at, indicator in enumerate(indicators):
            sides = (one.of(indicator.name), other.of(indicator.name))
            _check_same(indicator, *sides)
            rows, size = [row_of[o.transcript_id] for o in sides[0]], len(indicator.labels)
            for side, outcomes in enumerate(sides):
                own = tallies_of(indicator, outcomes)
                np.add.at(tallies[:, side, at, :size, :size], rows, own[..., :size])
                np.add.at(tallies[:, side, at, :size, most], rows, own[..., size])
        return cls(tuple(indicators), tuple(row_of), tallies)

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, indicator: str) -> Pairing:
        """Return what was said about one indicator, where it was asked."""
        at = [each.name for each in self.indicators].index(indicator)
        size = len(self.indicators[at].labels)
        labels = [*range(size), self.tallies.shape[-1] - 1]
        own = self.tallies[:, :, at : at + 1, :size][..., labels]
        alone = Pairing((self.indicators[at],), self.ids, own)
        return alone._rows(np.flatnonzero(own[:, 0].any(axis=(1, 2, 3))))

    def pick(self, ids: Collection[str]) -> Pairing:
        """Return some of the conversations."""
        wanted = set(ids)
        return self._rows(np.array([at for at, id in enumerate(self.ids) if id in wanted], int))

    def clustered(self, cluster_of: Mapping[str, str]) -> Pairing:
        """Return conversations with the same cluster as one; one that has none stands for itself."""
        if not cluster_of:
            return self
        clusters = self.clusters(cluster_of)
        summed = cluster_tallies(self.tallies, clusters)
        return replace(self, ids=tuple(dict.fromkeys(clusters)), tallies=summed)

    def split(self) -> Split:
        """Return who was right how often; before clustering, one question at a time."""
        wins, losses, asked = (int(count) for count in self.counts("right").sum(axis=0))
        both = int(_right(self.tallies)[:, 0].sum()) - wins
        return Split(both, wins, losses, asked - both - wins - losses)

    def counts(self, what: Counted) -> IntArray:
        """Return questions that only the one, and only the other, has right (or answered), and all.

        ``[N, 3]``, by conversation; before clustering, one question at a time.
        """
        each = (
            _right(self.tallies) if what == "right" else self.tallies[..., :-1].sum(axis=(-2, -1))
        )
        wins = np.maximum(each[:, 0] - each[:, 1], 0).sum(axis=-1)
        losses = np.maximum(each[:, 1] - each[:, 0], 0).sum(axis=-1)
        return np.stack([wins, losses, self.tallies[:, 0].sum(axis=(1, 2, 3))], axis=1)

    def clusters(self, cluster_of: Mapping[str, str]) -> list[str]:
        """Return the cluster of each conversation; one that has none stands for itself."""
        return [cluster_of.get(id, id) for id in self.ids]

    def values(self, measure: Measure) -> FloatArray:
        """Return the mean of a measure over the indicators, ``[2]``; NaN where none has it."""
        return mean_over_indicators(self.tallies.sum(axis=0)[None], measure).reshape(2)

    def difference(
        self,
        measure: Measure,
        *,
        seed: int = 0,
        confidence: float = 0.95,
        resamples: int = 2000,
        method: BootstrapMethod = "percentile",
    ) -> Estimate | None:
        """Return the one less the other; None where it is not defined."""
        one, other = self.values(measure) if len(self) else (np.nan, np.nan)
        found = bootstrap_interval(
            self.tallies,
            lambda tally: difference_of(tally, measure),
            seed=seed,
            confidence=confidence,
            resamples=resamples,
            method=method,
        )
        return estimate_of(float(one - other), found)

    def _rows(self, rows: IntArray) -> Pairing:
        return replace(self, ids=tuple(self.ids[at] for at in rows), tallies=self.tallies[rows])


def mean_over_indicators(tally: IntArray, measure: Measure) -> FloatArray:
    """Return ``[B, 2, A, L, L + 1]`` as ``[B, 2]``; indicators that have no score are left out."""
    return known_mean(measure(tally))


def difference_of(tally: IntArray, measure: Measure) -> FloatArray:
    """Return the one's mean less the other's, ``[B, 2, A, L, L + 1]`` to ``[B]``."""
    means = mean_over_indicators(tally, measure)
    return np.asarray(means[:, 0] - means[:, 1])


def estimate_of(value: float, interval: tuple[float, float] | None) -> Estimate | None:
    """Return a value with its interval, which never leaves the value out; None of NaN or nothing."""
    if interval is None or np.isnan(value):
        return None
    low, high = interval
    return Estimate(value, min(value, low), max(value, high))


def _right(tallies: IntArray) -> IntArray:
    right: IntArray = np.diagonal(tallies[..., :-1], axis1=-2, axis2=-1).sum(axis=-1)
    return right


def _check_same(indicator: Indicator, one: Sequence[Outcome], other: Sequence[Outcome]) -> None:
    asked = [[(o.transcript_id, o.expected) for o in side] for side in (one, other)]
    if asked[0] != asked[1]:
        raise InvalidData(
            f"Two completers were not asked the same about {indicator.name!r}.",
            field="predictions",
            remedy="Run both on the same task.",
        )
