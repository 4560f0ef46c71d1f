"""How much the champion differs from itself: run it twice, and nothing below that is a difference.

The same prompt in another batch, on another machine or at another hour need not give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from descant.evaluation.measures import Measure, macro_f1
from descant.evaluation.pairing import Pairing
from descant.evaluation.statistics import Estimate, wilson_interval
from descant.evaluation.task import Predictions
from descant.schema import Indicator


@dataclass(frozen=True)
class NoiseFloor:
    """Two runs of one completer on one task."""

    answers: int
    changed: int
    """Answers that are another label, or none, in the second run."""
    changed_share: Estimate
    difference: Estimate
    """First run less second, in the measure asked for."""

    @property
    def floor(self) -> float:
        """The largest difference between two runs that these two leave possible."""
        return max(abs(self.difference.low), abs(self.difference.high))

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return {**asdict(self), "floor": self.floor}


def noise_floor(
    indicators: Sequence[Indicator],
    first: Predictions,
    second: Predictions,
    measure: Measure = macro_f1,
    seed: int = 0,
) -> NoiseFloor | None:
    """Compare two runs of the same completer; None of nothing.

    Raises:
        InvalidData: they are not of the same conversations and indicators.
    """
    difference = Pairing.of(indicators, first, second).difference(measure, seed=seed)
    if difference is None:
        return None
    pairs = [
        (one.answer.label, other.answer.label)
        for indicator in indicators
        for one, other in zip(first.of(indicator.name), second.of(indicator.name), strict=True)
    ]
    changed = sum(one != other for one, other in pairs)
    bounds = wilson_interval(changed, len(pairs))
    assert bounds is not None, "a difference is of some answers"
    return NoiseFloor(len(pairs), changed, Estimate(changed / len(pairs), *bounds), difference)
