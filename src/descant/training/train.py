"""From labelled conversations to adapter folders, and to a reader: the whole way in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from descant.data import Example, build_examples, data_hash
from descant.model import LoadedModel, LoraAdapter, LoraPair, content_hash, save_adapter
from descant.registry import MANIFEST_FILE, Manifest
from descant.schema import AdapterRef, Indicator, LabelledTranscript
from descant.schema.errors import InvalidData
from descant.text import Renderer
from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress, fingerprint
from descant.training.reader import ReaderTrainer


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: a steady clock in seconds for rates, and the time of day for manifests."""

    steady: Callable[[], float]
    now: Callable[[], datetime]


@dataclass(frozen=True)
class Lessons:
    """What is learned from, and what says how well.

    Raises:
        InvalidData: no conversation has a label for any of the indicators.
        ContextTooLong: a conversation is longer than the model reads.
    """

    base: LoadedModel
    base_name: str
    renderer: Renderer
    rows: Sequence[LabelledTranscript]
    indicators: Sequence[Indicator]
    settings: Hyperparameters
    dev: Sequence[LabelledTranscript] = ()

    def __post_init__(self) -> None:
        if not self.examples(self.rows):
            raise InvalidData("No conversation has a label for any indicator.", field="labels")

    @property
    def questions(self) -> list[Question]:
        """The indicators as token ids."""
        return questions_for(self.indicators, self.renderer)

    def examples(self, rows: Sequence[LabelledTranscript]) -> list[Example]:
        """Return conversations as token ids."""
        longest = max(len(q.tail_ids) + max(map(len, q.labels)) for q in self.questions)
        limit = self.base.config.max_positions - longest
        return build_examples(rows, self.indicators, self.renderer, limit)

    def checkpoint(self, output: Path, reader: LoraAdapter | None = None) -> Checkpoint:
        """Return where a run over these is saved, and what it must have in common with this one."""
        read_by = "" if reader is None else reader.content_hash
        data = f"{data_hash(self.rows)} {data_hash(self.dev)} {read_by}"
        identity = fingerprint(self.base.base_hash, data, self.settings, self.questions)
        return Checkpoint(output, identity)


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

    Where there are `dev` rows, each adapter ends as it was behind the epoch that was best on them. A
    `reader` reads the conversations for all of them; without one, the base model alone.

    Raises:
        TrainingDiverged: a loss is not a number.
        StorageFull: the disk is full; nothing already written is lost.
    """
    examples, held_out = lessons.examples(lessons.rows), lessons.examples(lessons.dev)
    trainer = OnePassTrainer(
        lessons.base.model, lessons.questions, examples, lessons.settings, held_out, reader
    )
    checkpoint = lessons.checkpoint(output, reader)
    losses = _run(trainer, checkpoint, clocks, resume, on_progress)
    best = trainer.selection.best_losses()
    references = []
    for index, indicator in enumerate(lessons.indicators):
        adapter = replace(_adapter(trainer, index, lessons.base, reader), name=indicator.adapter)
        measured = {"train_loss": losses.get(indicator.name), "dev_loss": best.get(index)}
        _write(output, adapter, indicator, lessons, measured, clocks.now())
        references.append(AdapterRef(adapter.name, adapter.content_hash))
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
    examples, held_out = lessons.examples(lessons.rows), lessons.examples(lessons.dev)
    trainer = ReaderTrainer(
        lessons.base.model, lessons.questions, examples, lessons.settings, held_out
    )
    checkpoint = lessons.checkpoint(output.with_name(f".{output.name}"))
    _run(trainer, checkpoint, clocks, resume, on_progress)
    reader = trainer.adapter(lessons.base.base_hash)
    save_adapter(output, reader, lessons.base_name)
    checkpoint.remove()
    return reader


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


def questions_for(indicators: Sequence[Indicator], renderer: Renderer) -> list[Question]:
    """Return the indicators as token ids."""
    return [
        Question(
            indicator.name,
            tuple(renderer.render_tail(indicator)),
            tuple(map(tuple, renderer.render_labels(indicator.labels))),
        )
        for indicator in indicators
    ]


def _adapter(
    trainer: OnePassTrainer, index: int, base: LoadedModel, reader: LoraAdapter | None
) -> LoraAdapter:
    # Saved as it is served: in the base's type, so that the hash is that of the weights in use.
    dtype = base.model.dtype
    weights = {
        place: LoraPair(pair.a.to(dtype), pair.b.to(dtype), pair.scaling)
        for place, pair in trainer.stack.pairs(index).items()
    }
    invocation = trainer.questions[index].tail_ids
    identity = content_hash(weights, invocation, reader=reader)
    name = trainer.questions[index].name
    return LoraAdapter(name, identity, base.base_hash, "invocation", invocation, 0, weights, reader)


def _write(
    output: Path,
    adapter: LoraAdapter,
    indicator: Indicator,
    lessons: Lessons,
    losses: Mapping[str, float | None],
    now: datetime,
) -> None:
    manifest = Manifest(
        base_hash=lessons.base.base_hash,
        base_name=lessons.base_name,
        data_hash=data_hash(lessons.rows),
        recipe=lessons.settings.to_json(),
        indicator=_stated(indicator),
        metrics={**losses, "train_labels": _label_counts(lessons.rows, indicator.name)},
        created=now.isoformat(),
        content_hash=adapter.content_hash,
    )
    documents = {MANIFEST_FILE: asdict(manifest)}
    save_adapter(output / adapter.name, adapter, lessons.base_name, documents)


def _stated(indicator: Indicator) -> dict[str, Any]:
    lists = ("labels", "positive", "auto_fail")
    fields = {key: value for key, value in asdict(indicator).items() if value is not None}
    return {key: list(value) if key in lists else value for key, value in fields.items()}


def _label_counts(rows: Sequence[LabelledTranscript], name: str) -> dict[str, int]:
    labels = (row.labels.get(name) for row in rows)
    return dict(Counter(label for label in labels if label is not None))
