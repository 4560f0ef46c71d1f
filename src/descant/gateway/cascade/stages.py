"""A cascade in the gateway's file.

::

    [cascades.refund]                       # the model that callers name
    thresholds = "refund.thresholds.toml"   # written by descant cascade fit
    unsettled = "human"

    [cascades.refund.stages.refund-small]   # a model, asked as if the caller had named it
    accept = ["confidence"]
    timeout_s = 2.0

    [cascades.refund.stages.gpt-5-mini]

Models are asked in the order of the file. All of a stage's rules must let an answer pass; a last
stage without rules takes whatever its model says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from descant.configuration import existing_file
from descant.schema.errors import InvalidConfig

Rule = Literal["confidence", "schema", "nonempty"]
File = Annotated[Path, AfterValidator(existing_file)]


@dataclass(frozen=True)
class StageConfig:
    """When a model's answer is taken.

    Raises:
        InvalidConfig: a key belongs to a rule that `accept` does not name.
    """

    accept: tuple[Rule, ...] = ()
    """``confidence``: at least its threshold; ``schema``: JSON that fits; ``nonempty``: says anything."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """Where the thresholds file has none; without either nothing is sure enough."""
    schema_file: File | None = None
    """A JSON schema (JSON); the request's own `response_format` if absent."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """After which the next stage is asked; the caller's deadline if absent."""

    def __post_init__(self) -> None:
        if self.min_confidence is not None and "confidence" not in self.accept:
            raise InvalidConfig("goes with accept = ['confidence'].", field="min_confidence")
        if self.schema_file is not None and "schema" not in self.accept:
            raise InvalidConfig("goes with accept = ['schema'].", field="schema_file")


@dataclass(frozen=True)
class CascadeConfig:
    """What stands behind one model's name.

    Raises:
        InvalidConfig: names the stage that cannot be.
    """

    stages: dict[str, StageConfig]
    """By model, in the order in which they are asked."""
    thresholds: File | None = None
    unsettled: Literal["fail", "human"] = "fail"
    """What no stage accepted: an error (of a scorecard: an unanswered indicator), or the last model's
    answer, flagged ``needs_review`` and written into the queue for people."""
    review_file: Path | None = None
    """The queue; JSON lines, only ever appended to."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidConfig("has no stage.", field="stages")
        last = list(self.stages)[-1]
        for model, stage in self.stages.items():
            self._check(model, stage, is_last=model == last)
        if (self.unsettled == "human") != (self.review_file is not None):
            raise InvalidConfig(
                "goes with unsettled = 'human', and neither is of use alone.", field="review_file"
            )

    def _check(self, model: str, stage: StageConfig, *, is_last: bool) -> None:
        if not stage.accept and not is_last:
            raise InvalidConfig(
                f"{model!r} takes every answer: no later model would be asked.",
                field="stages",
                remedy="Give it accept = ['confidence'].",
            )
        has_threshold = self.thresholds is not None or stage.min_confidence is not None
        if "confidence" in stage.accept and not has_threshold:
            raise InvalidConfig(
                f"{model!r} accepts by confidence, but there is no threshold.",
                field="stages",
                remedy="Fit thresholds with descant cascade fit, or set min_confidence.",
            )
