"""Fits a calibration on answers whose right label is known, and says what it is worth.

Both methods aim at what `n` right answers say of the next one, not at 0 and 1: `(n + 1) / (n + 2)`
(Platt, Probabilistic Outputs for Support Vector Machines, 1999, section 2.2). Twenty right answers
then do not become certainty.

What is chosen, and every figure of *after*, comes from cross-validation: each row is calibrated by a
fit that has not seen it.

Key: ``N`` rows, ``L`` labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.isotonic import IsotonicRegression

from descant.evaluation.reliability import (
    SMALLEST,
    Forecasts,
    Reliability,
    reliability,
    reliability_change,
)
from descant.evaluation.statistics import FloatArray, IntArray
from descant.evaluation.task import Outcome
from descant.schema import (
    Indicator,
    IsotonicCurve,
    IsotonicScaling,
    Scaling,
    TemperatureScaling,
)
from descant.schema.errors import InvalidConfig

CalibrationMethod = Literal["auto", "temperature", "isotonic", "none"]
_Fitted = Literal["temperature", "isotonic", "none"]

_COLDEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class CalibrationConfig:
    """Which method, and how many labelled answers it takes.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    method: CalibrationMethod = "auto"
    """``auto``: the one with the lowest cross-validated NLL; isotonic only where it is lower by more
    than a standard error (Breiman et al., Classification and Regression Trees, 1984, 3.4.3)."""
    num_folds: int = 5
    min_rows: int = 20
    """With fewer nothing can be said."""
    min_isotonic_rows: int = 200
    """With fewer ``auto`` does not try isotonic, which has many parameters."""
    min_label_rows: int = 10
    """Of every label, for isotonic: a curve for a label that is hardly seen calls it impossible."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_folds", "min_rows"):
            if getattr(self, name) < 2:
                raise InvalidConfig(f"{name} must be at least 2.", field=name)


@dataclass(frozen=True)
class CalibrationFit:
    """What one indicator's answers say about calibrating it."""

    indicator: str
    num_examples: int
    before: Reliability | None
    """None without examples."""
    method: _Fitted | None = None
    """None: nothing can be said, see `reason`."""
    reason: str | None = None
    scaling: Scaling | None = None
    after: Reliability | None = None
    """Cross-validated, as `change` is; None where nothing is calibrated."""
    change: Reliability | None = None
    changed_labels: int = 0
    """Answers whose likeliest label is another one after; cross-validated. A temperature has none."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        told = asdict(replace(self, scaling=None))
        return {**told, "scaling": self.scaling and self.scaling.to_json()}


def fit_calibration(
    indicator: Indicator, outcomes: Sequence[Outcome], config: CalibrationConfig | None = None
) -> CalibrationFit:
    """Fit the method asked for, or the best one, to what the model gave before any calibration."""
    settings = config or CalibrationConfig()
    labels = indicator.labels
    forecasts = Forecasts.of(indicator, [_uncalibrated(outcome) for outcome in outcomes])
    nothing = CalibrationFit(indicator.name, len(forecasts), reliability(forecasts, settings.seed))
    reason = _why_silent(outcomes) or _why_too_few(labels, forecasts, settings)
    if reason is not None:
        return replace(nothing, reason=reason)
    method, after = _best(labels, forecasts, settings)
    if method == "none":
        return replace(nothing, method="none")
    return replace(
        nothing,
        method=method,
        scaling=_FITS[method](labels, forecasts),
        after=reliability(after, settings.seed),
        change=reliability_change(forecasts, after, settings.seed),
        changed_labels=int((forecasts.likeliest() != after.likeliest()).sum()),
    )


def fit_temperature(labels: Sequence[str], forecasts: Forecasts) -> TemperatureScaling:
    """Return the temperature with the least cross-entropy to what right answers say of the next.

    Semantics:
        min over T of mean over n of -sum over l of q[n, l] log softmax(log p[n] / T)[l], which is
        convex in 1 / T; q is (N + 1) / (N + 2) for the right label and the rest in equal parts.
    """
    logs = np.log(np.maximum(forecasts.probabilities, SMALLEST))
    sure = (len(forecasts) + 1) / (len(forecasts) + 2)
    goals = np.full(logs.shape, (1 - sure) / (len(labels) - 1))
    goals[np.arange(len(forecasts)), forecasts.right] = sure

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - (goals * scaled).sum(axis=1)).mean())

    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return TemperatureScaling(float(np.exp(found.x)))


def fit_isotonic(labels: Sequence[str], forecasts: Forecasts) -> IsotonicScaling:
    """Return a curve for the last of two labels, or one for each of more against the rest."""
    curved = range(len(labels)) if len(labels) > 2 else (1,)
    return IsotonicScaling(
        {labels[at]: _curve(forecasts.probabilities[:, at], forecasts.right == at) for at in curved}
    )


def _curve(shares: FloatArray, is_right: NDArray[np.bool_]) -> IsotonicCurve:
    num_right = int(is_right.sum())
    low, high = _targets(num_right, len(is_right) - num_right)
    fitted = IsotonicRegression().fit(shares, np.where(is_right, high, low))
    return IsotonicCurve(
        tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_))
    )


def _targets(num_right: int, num_wrong: int) -> tuple[float, float]:
    """Return Platt's targets for what is wrong and for what is right."""
    return 1 / (num_wrong + 2), (num_right + 1) / (num_right + 2)


_FITS: Mapping[str, Callable[[Sequence[str], Forecasts], Scaling]] = {
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def _uncalibrated(outcome: Outcome) -> Outcome:
    raw = outcome.answer.raw_probabilities
    if raw is None:
        return outcome
    return replace(outcome, answer=replace(outcome.answer, probabilities=raw))


def _why_silent(outcomes: Sequence[Outcome]) -> str | None:
    reasons = [outcome.answer.unanswered for outcome in outcomes]
    return reasons[0] if reasons and None not in reasons else None


def _why_too_few(
    labels: Sequence[str], forecasts: Forecasts, config: CalibrationConfig
) -> str | None:
    counts = dict(zip(labels, _label_counts(labels, forecasts), strict=True))
    if len(forecasts) < config.min_rows:
        return f"{len(forecasts)} examples are too few; {config.min_rows} are needed"
    if len(forecasts) in counts.values():
        return "the examples have one label only"
    rarest = min(counts, key=counts.__getitem__)
    if config.method == "isotonic" and counts[rarest] < config.min_label_rows:
        return (
            f"{rarest!r} has {counts[rarest]} examples; isotonic needs {config.min_label_rows} "
            "of every label"
        )
    return None


def _best(
    labels: Sequence[str], forecasts: Forecasts, config: CalibrationConfig
) -> tuple[_Fitted, Forecasts]:
    """Return the method to use, and the rows calibrated by fits that have not seen them."""
    after = {
        method: _held_out(method, labels, forecasts, config)
        for method in _candidates(labels, forecasts, config)
    }
    losses = {method: -np.log(found.of_right()) for method, found in after.items()}
    best, *others = after
    for method in others:
        gains = losses[best] - losses[method]
        # A curve may change labels: it has to be better by more than chance would have it.
        needed = gains.std(ddof=1) / np.sqrt(len(gains)) if method == "isotonic" else 0.0
        best = method if gains.mean() > needed else best
    return best, after[best]


def _candidates(
    labels: Sequence[str], forecasts: Forecasts, config: CalibrationConfig
) -> list[_Fitted]:
    if config.method != "auto":
        return [config.method]
    is_enough = len(forecasts) >= config.min_isotonic_rows
    is_even = min(_label_counts(labels, forecasts)) >= config.min_label_rows
    return ["none", "temperature", "isotonic"] if is_enough and is_even else ["none", "temperature"]


def _held_out(
    method: _Fitted, labels: Sequence[str], forecasts: Forecasts, config: CalibrationConfig
) -> Forecasts:
    if method == "none":
        return forecasts
    after = np.empty_like(forecasts.probabilities)
    folds = _folds(forecasts, config)
    for fold in range(config.num_folds):
        scaling = _FITS[method](labels, forecasts.pick(folds != fold))
        after[folds == fold] = _applied(scaling, labels, forecasts.pick(folds == fold))
    return Forecasts(after, forecasts.right)


def _folds(forecasts: Forecasts, config: CalibrationConfig) -> IntArray:
    """Deal the rows of each label evenly, ``[N]``."""
    shuffled = np.random.default_rng(config.seed).permutation(len(forecasts))
    by_label = shuffled[np.argsort(forecasts.right[shuffled], kind="stable")]
    folds = np.empty(len(forecasts), np.int64)
    folds[by_label] = np.arange(len(forecasts)) % config.num_folds
    return folds


def _applied(scaling: Scaling, labels: Sequence[str], forecasts: Forecasts) -> FloatArray:
    rows = [dict(zip(labels, row, strict=True)) for row in forecasts.probabilities.tolist()]
    return np.array([list(scaling.apply(row).values()) for row in rows])


def _label_counts(labels: Sequence[str], forecasts: Forecasts) -> list[int]:
    counts: list[int] = np.bincount(forecasts.right, minlength=len(labels)).tolist()
    return counts
