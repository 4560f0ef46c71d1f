"""One training run as every method gets it, and what trains by each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from descant.model import LoadedModel
from descant.schema import AdapterRef, Indicator, LabelledTranscript
from descant.schema.errors import MissingDependency
from descant.text import Renderer
from descant.training.hyperparameters import Hyperparameters
from descant.training.one_pass import Progress
from descant.training.recipe import TrainingMethod
from descant.training.train import Clocks, train_one_pass


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and where it goes."""

    method: TrainingMethod
    base: LoadedModel
    base_name: str
    renderer: Renderer
    rows: Sequence[LabelledTranscript]
    dev_rows: Sequence[LabelledTranscript]
    """Never learned from."""
    indicators: Sequence[Indicator]
    settings: Hyperparameters
    output: Path
    clocks: Clocks
    resume: bool = False
    on_progress: Callable[[Progress], None] = lambda progress: None


Trainer = Callable[[Job], list[AdapterRef]]
"""Writes one adapter folder per indicator below the job's output."""


def trainer_for(method: TrainingMethod) -> Trainer:
    """Return what trains by this method.

    Raises:
        MissingDependency: nothing here does.
    """
    if method not in TRAINERS:
        raise MissingDependency(
            f"method {method!r}: its trainer is not part of this installation.",
            field="method",
            remedy=f"Methods that can be used here: {', '.join(TRAINERS)}.",
        )
    return TRAINERS[method]


def _train_one_pass(job: Job) -> list[AdapterRef]:
    return train_one_pass(
        job.base,
        job.base_name,
        job.renderer,
        job.rows,
        job.indicators,
        job.settings,
        job.output,
        clocks=job.clocks,
        resume=job.resume,
        on_progress=job.on_progress,
    )


TRAINERS: Mapping[TrainingMethod, Trainer] = MappingProxyType({"one_pass": _train_one_pass})
"""By method; one that is not here is refused."""
