"""From which confidence on a model's answer is taken; written by ``descant cascade fit``.

::

    [units.refund.models.small]       # an indicator; "answer" is that of a chat or completion
    threshold = 0.93                  # without one nothing of this model is taken
    labels = { yes = 0.97 }           # thresholds of single labels

    [units.answer.models.small]
    threshold = 0.8
    raw = [0.5, 0.9, 1.0]             # what a confidence of the model becomes before it is compared
    calibrated = [0.4, 0.7, 0.95]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field

from descant.configuration import read_toml_record
from descant.schema import IsotonicCurve
from descant.schema.errors import InvalidConfig

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class ModelThresholds:
    """One model's, for one indicator.

    Raises:
        InvalidConfig: the curve is none.
    """

    threshold: Share | None = None
    labels: dict[str, Share] = field(default_factory=dict)
    raw: tuple[Share, ...] = ()
    calibrated: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        if len(self.raw) != len(self.calibrated):
            raise InvalidConfig("must be as many as raw.", field="calibrated")
        if any(right <= left for left, right in pairwise(self.raw)):
            raise InvalidConfig("must rise.", field="raw")
        if any(right < left for left, right in pairwise(self.calibrated)):
            raise InvalidConfig("must not fall.", field="calibrated")

    def accepts(self, label: str | None, confidence: float) -> bool:
        """Return whether an answer that is as sure as this is taken."""
        least = self.labels.get(label, self.threshold) if label is not None else self.threshold
        if least is None:
            return False
        curve = IsotonicCurve(self.raw, self.calibrated)
        return (curve.at(confidence) if self.raw else confidence) >= least


@dataclass(frozen=True)
class UnitThresholds:
    """One indicator's, by model."""

    models: dict[str, ModelThresholds] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """Everything in one file."""

    units: dict[str, UnitThresholds] = field(default_factory=dict)

    def of(self, unit: str, model: str) -> ModelThresholds | None:
        """Return what holds of a model's answers to an indicator; None where the file is silent."""
        found = self.units.get(unit)
        return None if found is None else found.models.get(model)

    def to_toml(self, remarks: Sequence[str] = ()) -> str:
        """Return the file, with remarks above it."""
        # A name may hold what ends a line or may not stand in a comment.
        lines = ["# " + "".join(c if c.isprintable() else " " for c in each) for each in remarks]
        for unit, thresholds in self.units.items():
            for model, one in thresholds.models.items():
                lines += ["", f"[units.{_quoted(unit)}.models.{_quoted(model)}]", *_keys(one)]
        return "\n".join(lines) + "\n"


def load_thresholds(path: Path) -> Thresholds:
    """Read the file; the error lists every mistake in it.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is wrong.
    """
    return read_toml_record(
        path, Thresholds, "thresholds file", "descant cascade fit RECORDS.jsonl --out writes one."
    )


def _keys(one: ModelThresholds) -> list[str]:
    lines = [] if one.threshold is None else [f"threshold = {one.threshold!r}"]
    if one.labels:
        inner = ", ".join(f"{_quoted(label)} = {least!r}" for label, least in one.labels.items())
        lines.append(f"labels = {{ {inner} }}")
    if one.raw:
        lines += [f"raw = {list(one.raw)!r}", f"calibrated = {list(one.calibrated)!r}"]
    return lines


def _quoted(name: str) -> str:
    """Return a TOML string; JSON's differ in pairs of surrogates and in DEL, which TOML escapes."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
