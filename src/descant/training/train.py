"""One pass from labelled conversations to adapter folders, and to a reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from descant.data import data_hash
from descant.model import LoraAdapter, save_adapter
from descant.schema import AdapterRef
from descant.training.checkpoint import Checkpoint
from descant.training.lessons import Clocks, Lessons
from descant.training.one_pass import OnePassTrainer, Progress, fingerprint
from descant.training.rate_search import RateSearch
from descant.training.reader import READER_NAME, ReaderTrainer
from descant.training.trained_adapter import Origin, as_served, write_adapter

_RATES = "learning_rates"
OnProgress = Callable[[Progress], None]


def train_one_pass(
    lessons: Lessons,
    output: Path,
    *,
    clocks: Clocks,
    reader: LoraAdapter | None = None,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> list[AdapterRef]:
    """Train one adapter per indicator and write each as a folder under `output`.

    Where there are conversations to judge by, each adapter ends as it was behind the epoch that was
    best on them. A `reader` reads the conversations for all; without one, the base model alone.

    Raises:
        TrainingDiverged: a loss is not a number.
        StorageFull: the disk is full; nothing already written is lost.
    """
    base = lessons.base
    checkpoint = _checkpoint(lessons, output, reader)
    taught = (
        base.model,
        lessons.questions,
        lessons.examples,
        lessons.settings,
        lessons.dev_examples,
        reader,
    )
    rates = checkpoint.recall(_RATES) if resume else None
    if rates is None and lessons.settings.search_rates and lessons.dev_examples:
        rates = RateSearch(*taught).run(output / ".search", clocks.steady, on_progress)
        checkpoint.remember(_RATES, rates)
        # The first step comes behind the search: there is nothing yet to go on from.
        resume = False
    trainer = OnePassTrainer(*taught, rates)
    losses = _run(trainer, checkpoint, clocks, resume, on_progress)
    best = trainer.selection.best_losses()
    origin = Origin.of(lessons, "one_pass", clocks.now())
    references = []
    for index, indicator in enumerate(lessons.indicators):
        pairs, invocation = trainer.stack.pairs(index), lessons.questions[index].tail_ids
        adapter = as_served(indicator.adapter, pairs, invocation, base, reader)
        measured = {
            "train_loss": losses.get(indicator.name),
            "dev_loss": best.get(index),
            "learning_rate": trainer.rate_of(index),
        }
        references.append(write_adapter(output, adapter, indicator, lessons.rows, origin, measured))
    checkpoint.remove()
    return references


def train_reader(
    lessons: Lessons,
    output: Path,
    *,
    clocks: Clocks,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> LoraAdapter:
    """Train a reader for these indicators and write it to the folder `output`.

    Raises:
        TrainingDiverged: a loss is not a number.
        StorageFull: the disk is full; an older reader there is untouched.
    """
    base = lessons.base
    trainer = ReaderTrainer(
        base.model, lessons.questions, lessons.examples, lessons.settings, lessons.dev_examples
    )
    checkpoint = _checkpoint(lessons, output.with_name(f".{output.name}"), None)
    _run(trainer, checkpoint, clocks, resume, on_progress)
    reader = as_served(READER_NAME, trainer.reader.pairs(0), None, base)
    save_adapter(output, reader, lessons.base_name)
    checkpoint.remove()
    return reader


def _checkpoint(lessons: Lessons, output: Path, reader: LoraAdapter | None) -> Checkpoint:
    read_by = "" if reader is None else reader.content_hash
    data = f"{lessons.data_hash} {data_hash(lessons.dev)} {read_by}"
    identity = fingerprint(lessons.base.base_hash, data, lessons.settings, lessons.questions)
    return Checkpoint(output, identity)


def _run(
    trainer: OnePassTrainer,
    checkpoint: Checkpoint,
    clocks: Clocks,
    resume: bool,
    on_progress: OnProgress,
) -> dict[str, float]:
    if resume:
        trainer.resume(checkpoint)
    return trainer.train(checkpoint, clocks.steady, on_progress)
