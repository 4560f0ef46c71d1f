"""What every model of a cascade answered to the same conversations, beside what is right.

One JSON object a line, all models asked about each conversation, cheapest first::

    {"id": "c1", "indicator": "refund", "gold": "yes", "stages": [
        {"model": "small", "label": "yes", "confidence": 0.97, "cost": 0.0002},
        {"model": "large", "label": "yes", "confidence": null, "cost": 0.004}]}

A model that gave no answer has ``"label": null``. Costs are money for one answer. Of a text, `label`
and `gold` say what a judge made of it, such as ``"right"`` and ``"right"``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from descant.evaluation.statistics import FloatArray
from descant.schema.errors import DuplicateId, InvalidData

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class StageRecord:
    """What one model said."""

    model: str
    label: str | None
    confidence: float | None
    """None where it has none: such an answer is never taken before the last stage."""
    cost: float


@dataclass(frozen=True)
class CascadeRecord:
    """One indicator of one conversation, answered by every model."""

    id: str
    indicator: str
    gold: str
    stages: tuple[StageRecord, ...]


@dataclass(frozen=True)
class StageAnswers:
    """All records of one indicator, ``N`` of them, answered by ``S`` models.

    `sure` ``[N, S]`` is -inf where there was no confidence; `right` ``[N, S]``; `cost` ``[N, S]`` is what
    has been paid when that stage has answered.
    """

    ids: tuple[str, ...]
    models: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...]
    sure: FloatArray
    right: BoolArray
    cost: FloatArray

    def rows(self, chosen: BoolArray) -> StageAnswers:
        """Return those conversations for which the mask ``[N]`` is true."""
        kept = np.flatnonzero(chosen)
        return StageAnswers(
            tuple(self.ids[row] for row in kept),
            self.models,
            tuple(self.labels[row] for row in kept),
            self.sure[chosen],
            self.right[chosen],
            self.cost[chosen],
        )


def read_cascade_records(path: Path) -> list[CascadeRecord]:
    """Read the file.

    Raises:
        InvalidData: it cannot be read, or a line in it is no record; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path}: cannot be read: {error}.", field="records") from error
    return [
        _Line(f"{path}:{number}").record(line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def stage_answers(records: Sequence[CascadeRecord]) -> dict[str, StageAnswers]:
    """Return the records as arrays, by indicator.

    Raises:
        InvalidData: not all records of an indicator have the same models in the same order.
        DuplicateId: a conversation is there twice for an indicator; rows must be independent.
    """
    by_indicator: dict[str, list[CascadeRecord]] = {}
    for record in records:
        by_indicator.setdefault(record.indicator, []).append(record)
    return {name: _answers(name, rows) for name, rows in by_indicator.items()}


def _answers(indicator: str, records: Sequence[CascadeRecord]) -> StageAnswers:
    models = tuple(stage.model for stage in records[0].stages)
    seen: set[str] = set()
    for record in records:
        if tuple(stage.model for stage in record.stages) != models:
            raise InvalidData(
                f"{indicator}: {record.id!r} was not answered by {', '.join(models)}, in this order.",
                field="stages",
            )
        if record.id in seen:
            raise DuplicateId(f"{indicator}: {record.id!r} is there twice.", field="id")
        seen.add(record.id)
    stages = [record.stages for record in records]
    return StageAnswers(
        tuple(record.id for record in records),
        models,
        tuple(tuple(stage.label for stage in row) for row in stages),
        np.array([[_sure(stage) for stage in row] for row in stages]),
        np.array([[s.label == record.gold for s in record.stages] for record in records]),
        np.cumsum([[stage.cost for stage in row] for row in stages], axis=1),
    )


def _sure(stage: StageRecord) -> float:
    has_none = stage.label is None or stage.confidence is None
    return -math.inf if has_none or stage.confidence is None else stage.confidence


@dataclass(frozen=True)
class _Line:
    """Where something is read."""

    origin: str

    def record(self, line: str) -> CascadeRecord:
        try:
            table = json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidData(f"{self.origin}: not JSON: {error.msg}.", field="records") from error
        stages = table.get("stages") if isinstance(table, Mapping) else None
        if not isinstance(stages, list) or len(stages) < 2:
            self._refuse("stages", "must be a list of two models or more")
        name, indicator, gold = (self._text(table, key) for key in ("id", "indicator", "gold"))
        return CascadeRecord(name, indicator, gold, tuple(self._stages(stages)))

    def _stages(self, stages: Sequence[Any]) -> Iterator[StageRecord]:
        for stage in stages:
            if not isinstance(stage, Mapping):
                self._refuse("stages", "must hold objects")
            label = None if stage.get("label") is None else self._text(stage, "label")
            confidence = stage.get("confidence")
            if confidence is not None and not (_is_number(confidence) and 0 <= confidence <= 1):
                self._refuse("confidence", "must be from 0 to 1, or null")
            cost = stage.get("cost", 0.0)
            if not _is_number(cost) or not 0 <= cost < math.inf:
                self._refuse("cost", "must be an amount of money")
            yield StageRecord(self._text(stage, "model"), label, confidence, float(cost))

    def _text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value:
            self._refuse(key, "must be a text")
        return value

    def _refuse(self, key: str, reason: str) -> NoReturn:
        raise InvalidData(f"{self.origin}: {key} {reason}.", field=key)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
