"""How well probabilities put positive conversations before the others, whatever the threshold.

Key: ``P`` positive rows, ``Q`` other rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score

from descant.evaluation.reliability import Forecasts
from descant.evaluation.statistics import Estimate, FloatArray, Interval, wilson_interval


@dataclass(frozen=True)
class Ranking:
    """Of the rows that have probabilities."""

    auroc: Estimate
    """How often a positive row is before another one."""
    auprc: Estimate
    """Average precision; by chance it is the share of positive rows."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def ranking(forecasts: Forecasts, positive: list[int]) -> Ranking | None:
    """Return both figures with 95 % intervals; None unless some rows are positive and some not."""
    is_positive = np.isin(forecasts.right, positive)
    if not 0 < is_positive.sum() < len(is_positive):
        return None
    shares = forecasts.probabilities[:, positive].sum(axis=1)
    return Ranking(_auroc(shares, is_positive), _auprc(shares, is_positive))


def auroc_and_error(shares: FloatArray, is_positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the area under the ROC curve and its standard error.

    Source:
        DeLong, DeLong and Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver
        Operating Characteristic Curves, 1988; by ranks as Sun and Xu, Fast Implementation of DeLong's
        Algorithm, 2014.
    """
    ups, downs = shares[is_positive], shares[~is_positive]
    ranks = rankdata(np.concatenate([ups, downs]))
    beaten = (ranks[: len(ups)] - rankdata(ups)) / len(downs)
    beating = 1 - (ranks[len(ups) :] - rankdata(downs)) / len(ups)
    variance = sum(float(np.var(p, ddof=1)) / len(p) for p in (beaten, beating) if len(p) > 1)
    return float(beaten.mean()), variance**0.5


def _auroc(shares: FloatArray, is_positive: NDArray[np.bool_]) -> Estimate:
    value, error = auroc_and_error(shares, is_positive)
    scarcer = int(min(is_positive.sum(), (~is_positive).sum()))
    if error == 0 or not 0 < value < 1 or scarcer < 2:
        return _of_few(value, scarcer)
    return _on_logit_scale(value, error / (value * (1 - value)))


def _auprc(shares: FloatArray, is_positive: NDArray[np.bool_]) -> Estimate:
    """Return average precision with its logit interval.

    Source:
        Boyd, Eng and Page, Area under the Precision-Recall Curve: Point Estimates and Confidence
        Intervals, 2013.
    """
    value = float(average_precision_score(is_positive, shares))
    count = int(is_positive.sum())
    if not 0 < value < 1:
        return _of_few(value, count)
    return _on_logit_scale(value, (count * value * (1 - value)) ** -0.5)


def _on_logit_scale(value: float, error: float) -> Estimate:
    half = float(norm.ppf(0.975)) * error
    low, high = (float(expit(logit(value) + side)) for side in (-half, half))
    return Estimate(value, low, high)


def _of_few(value: float, count: int) -> Estimate:
    """Return a faultless or hopeless figure as the share of `count` tries that it could be."""
    found = wilson_interval(round(value * count), count) or Interval(0.0, 1.0)
    return Estimate(value, min(value, found.low), max(value, found.high))
