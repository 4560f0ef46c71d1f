"""One training run as every method gets it, and what trains by each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from descant.model import load_adapter
from descant.schema import AdapterRef
from descant.schema.errors import InvalidConfig
from descant.training.lessons import Clocks, Lessons
from descant.training.method import check_method
from descant.training.one_pass import Progress
from descant.training.recipe import TrainingMethod
from descant.training.single import train_single
from descant.training.train import train_one_pass, train_reader


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and where it goes.

    Raises:
        InvalidConfig: there is a reader, and the method has no use for one.
    """

    method: TrainingMethod
    lessons: Lessons
    output: Path
    clocks: Clocks
    reader: Path | None = None
    """The folder of the reader to train behind; where there is none yet it is trained first."""
    resume: bool = False
    on_progress: Callable[[Progress], None] = lambda progress: None

    def __post_init__(self) -> None:
        if self.reader is not None and self.method != "one_pass":
            raise InvalidConfig(
                f"Method {self.method!r} reads every conversation for itself.",
                field="reader",
                remedy="Leave the reader out, or use one_pass.",
            )


Trainer = Callable[[Job], list[AdapterRef]]
"""Writes one adapter folder per indicator below the job's output."""


def trainer_for(method: TrainingMethod) -> Trainer:
    """Return what trains by this method.

    Raises:
        InvalidConfig: it cannot be used on this machine.
        MissingDependency: its extra is not installed.
    """
    if method == "one_pass":
        return _train_one_pass
    check_method(method)
    return _train_single


def _train_one_pass(job: Job) -> list[AdapterRef]:
    base, reader, resume = job.lessons.base, None, job.resume
    if job.reader is not None and (job.reader / "adapter_config.json").is_file():
        reader = load_adapter(job.reader, base.config, base.model.dtype)
    elif job.reader is not None:
        reader = train_reader(
            job.lessons,
            job.reader,
            clocks=job.clocks,
            resume=resume,
            on_progress=job.on_progress,
        )
        # The tails come behind it: there is nothing of them yet to go on from.
        resume = False
    return train_one_pass(
        job.lessons,
        job.output,
        clocks=job.clocks,
        reader=reader,
        resume=resume,
        on_progress=job.on_progress,
    )


def _train_single(job: Job) -> list[AdapterRef]:
    assert job.method != "one_pass"
    return train_single(
        job.lessons,
        job.output,
        method=job.method,
        clocks=job.clocks,
        resume=job.resume,
        on_progress=job.on_progress,
    )
