"""Scores of structured outputs: slots with values, such as what a form is filled with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from descant.evaluation.measures import ratio
from descant.evaluation.row_scores import MeanScore, mean_score
from descant.evaluation.statistics import Estimate, FloatArray, IntArray, bootstrap_interval
from descant.schema.errors import InvalidData

Structure = Mapping[str, Any]


@dataclass(frozen=True)
class SlotResult:
    """Slots of all rows together; a slot is right when name and value are."""

    rows: int
    unscored: int
    """Rows without an output; all their slots are missed."""
    precision: Estimate | None
    """None where no slot was filled."""
    recall: Estimate | None
    """None where no slot was to be filled."""
    f1: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def exact_match(expected: Structure, output: Structure) -> float:
    """Return 1.0 where both have the same slots with the same values, in any order, else 0.0."""
    return float(_slots(expected) == _slots(output))


def slot_scores(
    expected: Sequence[Structure], outputs: Sequence[Structure | None], seed: int = 0
) -> SlotResult:
    """Return precision, recall and F1 of slots, drawing whole rows; the seed is the bootstrap's.

    A list is as many slots as it has items, an inner object one for each of its slots.

    Raises:
        InvalidData: there are not as many outputs as expected structures.
    """
    if len(expected) != len(outputs):
        raise InvalidData(
            f"{len(outputs)} outputs for {len(expected)} expected ones.", field="outputs"
        )
    counts = [_counts(right, output) for right, output in zip(expected, outputs, strict=True)]
    tallies = np.reshape(np.array(counts, dtype=np.int64), (-1, 3))
    missing = sum(output is None for output in outputs)
    figures = (_estimate(tallies, statistic, seed) for statistic in (_precision, _recall, _f1))
    return SlotResult(len(expected), missing, *figures)


def format_validity(
    outputs: Sequence[str], check: Callable[[str], str | None] | None = None
) -> MeanScore:
    """Return the share of outputs in the right format; `check` says what is wrong with one, or None.

    Without `check`, JSON is the right format.
    """
    reason = check or json_mistake
    return mean_score([float(reason(output) is None) for output in outputs])


def json_mistake(text: str) -> str | None:
    """Return why a text is not JSON; None if it is."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        return str(error)
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _counts(expected: Structure, output: Structure | None) -> tuple[int, int, int]:
    """Return slots that are right, filled and to be filled."""
    right, filled = _slots(expected), _slots(output or {})
    return (right & filled).total(), filled.total(), right.total()


def _slots(value: Any, name: str = "") -> Counter[tuple[str, str]]:
    if isinstance(value, Mapping):
        inner = (_slots(each, f"{name}.{key}") for key, each in value.items())
        return sum(inner, Counter())
    if isinstance(value, list | tuple):
        return sum((_slots(each, f"{name}[]") for each in value), Counter())
    return Counter({(name, json.dumps(value, ensure_ascii=False)): 1})


def _estimate(
    tallies: IntArray, statistic: Callable[[IntArray], FloatArray], seed: int
) -> Estimate | None:
    bounds = bootstrap_interval(tallies, statistic, seed=seed)
    value = float(statistic(tallies.sum(axis=0)))
    if bounds is None or np.isnan(value):
        return None
    return Estimate(value, min(value, bounds.low), max(value, bounds.high))


def _precision(sums: IntArray) -> FloatArray:
    return ratio(sums[..., 0], sums[..., 1])


def _recall(sums: IntArray) -> FloatArray:
    return ratio(sums[..., 0], sums[..., 2])


def _f1(sums: IntArray) -> FloatArray:
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
