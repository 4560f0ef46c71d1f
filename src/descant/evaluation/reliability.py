"""How far probabilities can be believed: negative log-likelihood, Brier score and calibration error.

Each figure is ``sum over m of |sum over n of t[n, m]| / N`` for a tally ``t [N, M]`` of its own: a
loss fills one column, a calibration error one a bin, with confidence less hit. So one bootstrap over
rows gives the intervals of all of them, and of what a calibration changes.

Key: ``N`` rows, ``L`` labels, ``F`` figures, ``M`` columns of a tally, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.evaluation.statistics import Estimate, FloatArray, IntArray, bootstrap_values
from descant.evaluation.task import Outcome
from descant.schema import Indicator

NUM_BINS = 10
# A probability that underflowed is not a certainty of being wrong: 27.6 nats are enough.
SMALLEST = 1e-12
_EQUAL_WIDTH_EDGES = np.linspace(0.0, 1.0, NUM_BINS + 1)[1:-1]


@dataclass(frozen=True)
class Forecasts:
    """What was said about each row, and what was right."""

    probabilities: FloatArray
    """``[N, L]``."""
    right: IntArray
    """``[N]``, the index of the right label."""

    @classmethod
    def of(cls, indicator: Indicator, outcomes: Sequence[Outcome]) -> Forecasts:
        """Return the outcomes that were answered, each with a probability of every label."""
        answered = [outcome for outcome in outcomes if outcome.answer.probabilities]
        shape = (len(answered), len(indicator.labels))
        shares = [[o.answer.probabilities.get(k, 0.0) for k in indicator.labels] for o in answered]
        right = [indicator.labels.index(outcome.expected) for outcome in answered]
        return cls(np.reshape(np.array(shares, float), shape), np.array(right, np.int64))

    def __len__(self) -> int:
        return len(self.right)

    def of_right(self) -> FloatArray:
        """Return the probability of each right label, ``[N]``, never quite 0."""
        found: FloatArray = self.probabilities[np.arange(len(self)), self.right]
        return np.maximum(found, SMALLEST)

    def likeliest(self) -> IntArray:
        """Return the index of the likeliest label, ``[N]``."""
        likeliest: IntArray = self.probabilities.argmax(axis=1)
        return likeliest

    def pick(self, rows: NDArray[np.bool_]) -> Forecasts:
        """Return some of the rows."""
        return Forecasts(self.probabilities[rows], self.right[rows])


@dataclass(frozen=True)
class Reliability:
    """Figures of one set of forecasts, or their changes from one set to another; less is better."""

    nll: Estimate
    """Mean negative log-likelihood of the right label, in nats."""
    brier: Estimate
    """Half the squared distance from the truth: of two labels (p - y)², from 0 to 1."""
    ece: Estimate
    """Calibration error of the likeliest label, in bins of as many rows each."""
    ece_equal_width: Estimate
    """The same in bins of the same width."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def reliability(forecasts: Forecasts, seed: int) -> Reliability | None:
    """Return the figures with 95 % intervals; None of nothing.

    A calibration error counts noise as error, so on few rows both it and its interval are too high:
    faultless forecasts of 50 rows in 10 bins show about 0.1.

    Source:
        Brier, Verification of Forecasts Expressed in Terms of Probability, 1950; Guo et al., On
        Calibration of Modern Neural Networks, 2017, equation 3, for bins of equal width; Nguyen and
        O'Connor, Posterior Calibration and Exploratory Analysis for Natural Language Processing
        Models, 2015, for bins of as many rows, which Roelofs et al., Mitigating Bias in Calibration
        Error Estimation, 2022, find to be less biased.
    """
    if len(forecasts) == 0:
        return None
    return _estimates(_tallies(forecasts), partial(_figures, num_rows=len(forecasts)), seed)


def reliability_change(before: Forecasts, after: Forecasts, seed: int) -> Reliability | None:
    """Return by how much the figures change, with 95 % intervals; both are of the same rows."""
    if len(before) == 0:
        return None
    tallies = np.stack([_tallies(before), _tallies(after)], axis=1)
    return _estimates(tallies, partial(_differences, num_rows=len(before)), seed)


def calibration_tally(
    confidence: FloatArray, is_hit: NDArray[np.bool_], edges: Sequence[float] | FloatArray
) -> FloatArray:
    """Return confidence less hit of every row in the column of its bin, ``[N, M]``.

    `edges` are the M - 1 inner ends of the bins; a row on an edge is in the lower bin.
    """
    tally = np.zeros((len(confidence), len(edges) + 1))
    tally[np.arange(len(confidence)), np.searchsorted(edges, confidence)] = confidence - is_hit
    return tally


def brier_loss(forecasts: Forecasts) -> FloatArray:
    """Return half of Brier's loss of every row, ``[N]``."""
    truth = np.eye(forecasts.probabilities.shape[1])[forecasts.right]
    loss: FloatArray = np.square(forecasts.probabilities - truth).sum(axis=1) / 2
    return loss


def equal_mass_edges(confidence: FloatArray) -> FloatArray:
    """Return the inner ends of bins that hold as many rows each, as far as equal values allow."""
    edges: FloatArray = np.quantile(confidence, _EQUAL_WIDTH_EDGES)
    return edges


def _tallies(forecasts: Forecasts) -> FloatArray:
    """Return the tallies in the order of the fields of `Reliability`, ``[N, F, M]``."""
    losses = np.zeros((len(forecasts), 2, NUM_BINS))
    losses[:, 0, 0] = -np.log(forecasts.of_right())
    losses[:, 1, 0] = brier_loss(forecasts)
    confidence = forecasts.probabilities.max(axis=1)
    is_hit = forecasts.likeliest() == forecasts.right
    edges = (equal_mass_edges(confidence), _EQUAL_WIDTH_EDGES)
    errors = [calibration_tally(confidence, is_hit, inner) for inner in edges]
    return np.concatenate([losses, np.stack(errors, axis=1)], axis=1)


def _estimates(
    tallies: FloatArray, statistic: Callable[[FloatArray], FloatArray], seed: int
) -> Reliability:
    values = statistic(tallies.sum(axis=0))
    low, high = np.quantile(bootstrap_values(tallies, statistic, seed=seed), [0.025, 0.975], axis=0)
    # The error of a resample is on average above that of the rows themselves.
    ends = zip(values, np.minimum(low, values), np.maximum(high, values), strict=True)
    return Reliability(*(Estimate(*map(float, three)) for three in ends))


def _figures(total: FloatArray, num_rows: int) -> FloatArray:
    figures: FloatArray = np.abs(total).sum(axis=-1) / num_rows
    return figures


def _differences(total: FloatArray, num_rows: int) -> FloatArray:
    figures = _figures(total, num_rows)
    return figures[..., 1, :] - figures[..., 0, :]
