"""Thresholds of a cascade that keep a bound on errors, or on money, beyond the data they come from.

To pick the cheapest thresholds whose errors on the data are few enough would promise too much: the
best of many is lucky. Instead a line of settings from the safest to the cheapest is fixed before the
data are looked at, and each in turn is tested: *its error rate is above the bound*. The test is exact
(binomial, which is Clopper and Pearson's upper bound below the bound); the first setting that is not
rejected ends the walk, and the last rejected one is taken. At most one true hypothesis is met before
the walk ends, so the chance that what is taken has more errors than promised is at most 1 -
confidence, for any number of settings and any data that are drawn independently: fixed-sequence
testing within Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, 2021, section 4; the test
is of Clopper and Pearson, 1934). With several thresholds the line is learned on a part of the
conversations that is not tested on (Laufer-Goldshtein, Fisch, Barzilay and Jaakkola, Efficiently
Controlling Multiple Risks with Pareto Testing, 2023).

Money has no largest value, so no bound on its mean can be free of assumptions: that one is Student's.

The promise is for each indicator by itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import beta, t
from sklearn.isotonic import IsotonicRegression

from descant.evaluation.cascade_path import (
    LEVELS,
    Knobs,
    Outcomes,
    knobs_of,
    learned_path,
    outcomes,
    straight_path,
)
from descant.evaluation.cascade_records import BoolArray, StageAnswers
from descant.evaluation.statistics import FloatArray
from descant.schema import IsotonicCurve
from descant.schema.errors import InvalidConfig, InvalidData

_FEWEST = 10
Path = list[tuple[int, ...]]


@dataclass(frozen=True)
class ErrorBound:
    """Cheapest, with at most this share of wrong answers."""

    max_error: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_share(self.max_error, "max_error")
        _check_share(self.confidence, "confidence")


@dataclass(frozen=True)
class CostBound:
    """Fewest errors, for at most this much money."""

    max_cost_per_1000: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.max_cost_per_1000 < math.inf:
            raise InvalidConfig("max_cost must be above 0.", field="max_cost")
        _check_share(self.confidence, "confidence")


@dataclass(frozen=True)
class CascadeFitConfig:
    """How thresholds are looked for."""

    by_label: bool = False
    """A threshold for each label of each model."""
    calibrate: bool = False
    """Whether confidences are first mapped to shares of right answers, by a curve for each model."""
    learning_share: float = 0.3
    """Of the conversations, where a path or a curve must be learned; the others are tested on."""

    def __post_init__(self) -> None:
        _check_share(self.learning_share, "learning_share")


@dataclass(frozen=True)
class ModelCut:
    """From which confidence on one model's answers are taken."""

    threshold: float | None = None
    """None: never, unless `labels` says so."""
    labels: dict[str, float] = field(default_factory=dict)
    curve: IsotonicCurve | None = None
    """What a confidence becomes before it is compared."""


@dataclass(frozen=True)
class CascadeFit:
    """What was found for one indicator; shares and money are of the conversations tested on."""

    indicator: str
    cuts: dict[str, ModelCut]
    """By model; the last has none, whatever it says is taken."""
    num_examples: int
    num_tested: int
    error: float
    error_bound: float
    """With the confidence asked for, the error rate is not above it."""
    cost_per_1000: float
    answered_by: dict[str, float]
    """The share of answers that come from each model."""
    last_error: float
    """Of asking all models and taking the last one's answer: without thresholds."""
    last_cost_per_1000: float
    """Of asking the last model alone."""
    reason: str | None = None
    """Why no threshold could be promised anything; then everything goes to the last model."""

    @property
    def saved(self) -> float:
        """The share of the money for the last model alone that is saved; below 0: it costs more."""
        return 1 - self.cost_per_1000 / self.last_cost_per_1000 if self.last_cost_per_1000 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return {**asdict(self), "saved": self.saved}


def fit_cascade(
    indicator: str,
    answers: StageAnswers,
    bound: ErrorBound | CostBound,
    config: CascadeFitConfig | None = None,
) -> CascadeFit:
    """Return the thresholds that keep the bound.

    Where no thresholds keep a bound on errors, everything goes to the last model and `reason` says why.

    Raises:
        InvalidData: there are too few conversations, or even the first model alone costs too much.
    """
    config = config or CascadeFitConfig()
    search = _search(indicator, answers, config)
    if isinstance(bound, CostBound):
        return _fit_cost(indicator, search, bound)
    return _fit_error(indicator, search, bound)


@dataclass(frozen=True)
class _Search:
    """A line of settings, and what each would have done on the conversations tested on."""

    answers: StageAnswers
    """Tested on."""
    knobs: Knobs
    path: Path
    tried: tuple[Outcomes, ...]
    curves: tuple[IsotonicCurve, ...]
    num_examples: int


def _search(indicator: str, answers: StageAnswers, config: CascadeFitConfig) -> _Search:
    knobs = knobs_of(answers, by_label=config.by_label)
    curves: tuple[IsotonicCurve, ...] = ()
    tested, path = answers, straight_path()
    if config.calibrate or len(knobs.knobs) != 1:
        learning = _is_for_learning(answers, config.learning_share)
        learned, tested = answers.rows(learning), answers.rows(~learning)
        _check_enough(indicator, len(learned.ids))
        # A label that was not learned about has no threshold: it is never taken.
        knobs = knobs_of(learned, by_label=config.by_label)
        if config.calibrate:
            curves = tuple(_curve(learned, s) for s in range(len(answers.models) - 1))
            learned, tested = _curved(learned, curves), _curved(tested, curves)
        path = learned_path(learned, knobs)
    _check_enough(indicator, len(tested.ids))
    under = knobs.turned_by(tested)
    tried = tuple(outcomes(tested, under, notches) for notches in path)
    return _Search(tested, knobs, path, tried, curves, len(answers.ids))


def _fit_error(indicator: str, search: _Search, bound: ErrorBound) -> CascadeFit:
    highs = _error_highs(search.tried, bound.confidence)
    passed = next((i for i, high in enumerate(highs) if high > bound.max_error), len(highs))
    if passed > 0:
        return _fit(indicator, search, passed - 1, bound.max_error)
    last = float(search.tried[0].wrong.mean())
    reason = (
        f"The last model alone is wrong in {last:.1%} of {len(search.answers.ids)}, "
        f"which may be {highs[0]:.1%}."
    )
    return replace(_fit(indicator, search, 0, highs[0]), reason=reason)


def _fit_cost(indicator: str, search: _Search, bound: CostBound) -> CascadeFit:
    """Walk from the cheapest end, and take the fewest errors among what is cheap enough."""
    backwards = range(len(search.path) - 1, -1, -1)
    highs = {i: 1000 * _cost_high(search.tried[i].cost, bound.confidence) for i in backwards}
    dear = next((i for i in backwards if highs[i] > bound.max_cost_per_1000), -1)
    if dear == len(search.path) - 1:
        raise InvalidData(
            f"{indicator}: the first model alone may cost {highs[dear]:.4g} for 1,000 answers.",
            field="max_cost",
            remedy="Allow more, or put a cheaper model first.",
        )
    cheap = range(len(search.path) - 1, dear, -1)
    best = min(cheap, key=lambda i: int(search.tried[i].wrong.sum()))
    # The fewest errors of several settings are lucky ones: a bound for all of them at once.
    each = 1 - (1 - bound.confidence) / len(search.path)
    [high] = _error_highs([search.tried[best]], each)
    return _fit(indicator, search, best, high)


def _fit(indicator: str, search: _Search, chosen: int, error_bound: float) -> CascadeFit:
    answers, tried = search.answers, search.tried[chosen]
    alone = answers.cost[:, -1] - answers.cost[:, -2]
    shares = np.bincount(tried.stage, minlength=len(answers.models)) / len(tried.stage)
    return CascadeFit(
        indicator,
        _cuts(search, search.path[chosen]),
        search.num_examples,
        len(answers.ids),
        float(tried.wrong.mean()),
        error_bound,
        1000 * float(tried.cost.mean()),
        dict(zip(answers.models, shares.tolist(), strict=True)),
        1 - float(answers.right[:, -1].mean()),
        1000 * float(alone.mean()),
    )


def _cuts(search: _Search, notches: tuple[int, ...]) -> dict[str, ModelCut]:
    cuts: dict[str, ModelCut] = {}
    for number, model in enumerate(search.answers.models[:-1]):
        curve = search.curves[number] if search.curves else None
        levels = {
            knob.label: LEVELS[notch]
            for knob, notch in zip(search.knobs.knobs, notches, strict=True)
            if knob.stage == number and notch > 0
        }
        labels = {label: level for label, level in levels.items() if label is not None}
        cuts[model] = ModelCut(levels.get(None), labels, curve)
    return cuts


def _error_highs(tried: Sequence[Outcomes], confidence: float) -> list[float]:
    """Return Clopper and Pearson's upper bounds on the error rates."""
    wrong = np.array([int(each.wrong.sum()) for each in tried])
    total = len(tried[0].wrong)
    highs = beta.ppf(confidence, wrong + 1, np.maximum(total - wrong, 1))
    return [float(high) for high in np.where(wrong == total, 1.0, highs)]


def _cost_high(cost: FloatArray, confidence: float) -> float:
    """Return Student's upper bound on the mean."""
    spread = float(cost.std(ddof=1)) / math.sqrt(len(cost))
    return float(cost.mean()) + float(t.ppf(confidence, len(cost) - 1)) * spread


def _is_for_learning(answers: StageAnswers, share: float) -> BoolArray:
    """Return which conversations are learned on: by their ids, so the same whenever asked."""
    digests = [hashlib.sha256(f"cascade:{each}".encode()).digest() for each in answers.ids]
    return np.array([int.from_bytes(digest[:8]) < share * 2**64 for digest in digests])


def _curve(answers: StageAnswers, stage: int) -> IsotonicCurve:
    """Return from which confidence follows which share of right answers."""
    sure = answers.sure[:, stage]
    known = np.isfinite(sure)
    if not known.any():
        return IsotonicCurve((0.0,), (0.0,))
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(sure[known], answers.right[known, stage])
    return IsotonicCurve(
        tuple(fitted.X_thresholds_.tolist()), tuple(np.clip(fitted.y_thresholds_, 0, 1).tolist())
    )


def _curved(answers: StageAnswers, curves: tuple[IsotonicCurve, ...]) -> StageAnswers:
    sure = answers.sure.copy()
    for stage, curve in enumerate(curves):
        for row in np.flatnonzero(np.isfinite(sure[:, stage])):
            sure[row, stage] = curve.at(float(sure[row, stage]))
    return replace(answers, sure=sure)


def _check_enough(indicator: str, rows: int) -> None:
    if rows < _FEWEST:
        raise InvalidData(
            f"{indicator}: {rows} conversations say nothing about a threshold.",
            field="records",
            remedy="A bound of 2 % at 95 % takes 149 without an error, and more with some.",
        )


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise InvalidConfig(f"{name} must be above 0 and below 1.", field=name)
