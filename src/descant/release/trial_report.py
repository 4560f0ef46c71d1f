"""What a shadow or a canary has shown so far: both sides of live traffic, indicator by indicator.

May be looked at as often as one likes: its intervals hold at all looks at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from descant.data import read_objects
from descant.evaluation import (
    CanaryVerdict,
    SequentialConfig,
    SequentialMean,
    disagreement_verdict,
)
from descant.schema.errors import InvalidData

SIDES = ("champion", "challenger")


@dataclass(frozen=True)
class SideSummary:
    """One side's answers to one indicator."""

    adapters: tuple[str, ...]
    """By content hash; more than one where the side was replaced meanwhile."""
    unanswered_share: float
    mean_confidence: float | None
    """None of texts, and where nothing was answered."""
    mean_length: float
    """Characters."""


@dataclass(frozen=True)
class TrialRow:
    """One indicator."""

    indicator: str
    answered_by_challenger: int
    champion: SideSummary
    challenger: SideSummary
    disagreement: CanaryVerdict
    mirror_s: float
    """Median seconds of the mirrored side, its indicators together."""


@dataclass(frozen=True)
class TrialReport:
    """All of a trial."""

    rows: tuple[TrialRow, ...]
    most: float
    """Disagreement allowed."""

    @property
    def must_stop(self) -> bool:
        """Whether any indicator disagrees more than is allowed, beyond doubt."""
        return any(row.disagreement.outcome == "stop" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return {**asdict(self), "must_stop": self.must_stop}


def read_trial(path: Path, most: float, alpha: float = 0.05) -> TrialReport:
    """Read a trial's log; intervals of all indicators hold at once with 1 - `alpha`.

    Raises:
        InvalidData: the file cannot be read, is empty, or a line is no record; names file and line.
    """
    records: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for number, record in read_objects(path):
        if not _is_record(record):
            raise InvalidData(
                f"{path}, line {number}: is no record of a trial.",
                field="path",
                remedy="Name the file of descant serve --trial-log.",
            )
        records[record["indicator"]].append(record)
    if not records:
        raise InvalidData(f"{path}: holds no record yet.", field="path")
    config = SequentialConfig(alpha=alpha / len(records))
    rows = (_row(name, records[name], most, config) for name in sorted(records))
    return TrialReport(tuple(rows), most)


def _is_record(record: Mapping[str, Any]) -> bool:
    sides = [record.get(side) for side in SIDES]
    return (
        isinstance(record.get("indicator"), str)
        and all(
            isinstance(side, dict)
            and {"adapter", "label", "length", "confidence", "unanswered"} <= side.keys()
            for side in sides
        )
        and isinstance(record.get("agree"), bool)
    )


def _row(
    name: str, records: Sequence[Mapping[str, Any]], most: float, config: SequentialConfig
) -> TrialRow:
    differing = SequentialMean(config)
    differing.add_many(float(not record["agree"]) for record in records)
    champion, challenger = (_side(record[side] for record in records) for side in SIDES)
    return TrialRow(
        name,
        sum(record.get("answered_by") == "challenger" for record in records),
        champion,
        challenger,
        disagreement_verdict(differing.estimate(), most),
        median(float(record.get("mirror_s", 0.0)) for record in records),
    )


def _side(answers: Iterable[Mapping[str, Any]]) -> SideSummary:
    told = list(answers)
    sure = [float(each["confidence"]) for each in told if each["confidence"] is not None]
    return SideSummary(
        tuple(sorted({str(each["adapter"]) for each in told})),
        fmean(bool(each["unanswered"]) for each in told),
        fmean(sure) if sure else None,
        fmean(int(each["length"]) for each in told),
    )
