"""From labelled conversations to adapter folders: the whole way in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: a steady clock in seconds for rates, and the time of day for manifests."""

    steady: Callable[[], float]
    now: Callable[[], datetime]


def train_one_pass(  # noqa: PLR0913 - base, data, questions, settings and place are one each
    base: LoadedModel,
    base_name: str,
    renderer: Renderer,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    settings: Hyperparameters,
    output: Path,
    *,
    clocks: Clocks,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[AdapterRef]:
    """Train one adapter per indicator and write each as a folder under `output`.

    Raises:
        InvalidData: there is nothing to learn from.
        ContextTooLong: a conversation is longer than the model reads.
        TrainingDiverged: a loss is not a number.
        StorageFull: the disk is full; nothing already written is lost.
    """
    questions = questions_for(indicators, renderer)
    examples = examples_for(questions, rows, indicators, renderer, base.config.max_positions)
    trainer = OnePassTrainer(base.model, questions, examples, settings)
    data = data_hash(rows)
    checkpoint = Checkpoint(output, fingerprint(base.base_hash, data, settings, questions))
    if resume:
        trainer.step = checkpoint.load(trainer.stack, trainer.optimizer)
    losses = trainer.train(checkpoint, clocks.steady, on_progress)
    origin = _Origin(base.base_hash, base_name, data, settings, clocks.now().isoformat())
    references = [
        _write(
            output,
            _adapter(trainer, index, base),
            indicator,
            rows,
            origin,
            losses.get(indicator.name),
        )
        for index, indicator in enumerate(indicators)
    ]
    checkpoint.remove()
    return references


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


def examples_for(
    questions: Sequence[Question],
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    renderer: Renderer,
    max_positions: int,
) -> list[Example]:
    """Return the conversations to learn from, each with room for the longest tail and label.

    Raises:
        InvalidData: there are none.
        ContextTooLong: one is longer than the model reads.
    """
    longest = max(len(q.tail_ids) + max(map(len, q.labels)) for q in questions)
    examples = build_examples(rows, indicators, renderer, max_positions - longest)
    if not examples:
        raise InvalidData("No conversation has a label for any indicator.", field="labels")
    return examples


@dataclass(frozen=True)
class _Origin:
    """What all adapters of one run have in common."""

    base_hash: str
    base_name: str
    data_hash: str
    settings: Hyperparameters
    created: str


def _adapter(trainer: OnePassTrainer, index: int, base: LoadedModel) -> LoraAdapter:
    # Saved as it is served: in the base's type, so that the hash is that of the weights in use.
    dtype = base.model.dtype
    weights = {
        place: LoraPair(pair.a.to(dtype), pair.b.to(dtype), pair.scaling)
        for place, pair in trainer.stack.pairs(index).items()
    }
    invocation = trainer.questions[index].tail_ids
    identity = content_hash(weights, invocation)
    name = trainer.questions[index].name
    return LoraAdapter(name, identity, base.base_hash, "invocation", invocation, 0, weights)


def _write(
    output: Path,
    adapter: LoraAdapter,
    indicator: Indicator,
    rows: Sequence[LabelledTranscript],
    origin: _Origin,
    loss: float | None,
) -> AdapterRef:
    adapter = replace(adapter, name=indicator.adapter)
    manifest = Manifest(
        base_hash=origin.base_hash,
        base_name=origin.base_name,
        data_hash=origin.data_hash,
        recipe=origin.settings.to_json(),
        indicator=_stated(indicator),
        metrics={"train_loss": loss, "train_labels": _label_counts(rows, indicator.name)},
        created=origin.created,
        content_hash=adapter.content_hash,
    )
    save_adapter(
        output / indicator.adapter, adapter, origin.base_name, {MANIFEST_FILE: asdict(manifest)}
    )
    return AdapterRef(adapter.name, adapter.content_hash)


def _stated(indicator: Indicator) -> dict[str, Any]:
    lists = ("labels", "positive", "auto_fail")
    fields = {key: value for key, value in asdict(indicator).items() if value is not None}
    return {key: list(value) if key in lists else value for key, value in fields.items()}


def _label_counts(rows: Sequence[LabelledTranscript], name: str) -> dict[str, int]:
    labels = (row.labels.get(name) for row in rows)
    return dict(Counter(label for label in labels if label is not None))
