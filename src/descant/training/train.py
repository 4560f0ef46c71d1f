"""From labelled conversations to adapter folders: the whole way in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from descant.data import build_examples, data_hash
from descant.model import LoadedModel
from descant.schema import AdapterRef, Indicator, LabelledTranscript
from descant.schema.errors import InvalidData
from descant.text import Renderer
from descant.training.checkpoint import Checkpoint
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress, fingerprint
from descant.training.recipe import Recipe


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: a steady clock in seconds for rates, and the time of day for manifests."""

    steady: Callable[[], float]
    now: Callable[[], datetime]


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


def train_one_pass(  # noqa: PLR0913 - base, data, questions, recipe and place are one each
    base: LoadedModel,
    base_name: str,
    renderer: Renderer,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    recipe: Recipe,
    output: Path,
    *,
    clocks: Clocks,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[AdapterRef]:
    """Train one adapter per indicator and write each as a folder under `output`.

    Raises:
        InvalidData: there is nothing to learn from.
        TrainingDiverged: a loss is not a number.
        StorageFull: the disk is full; nothing already written is lost.
    """
    questions = questions_for(indicators, renderer)
    longest = max(len(question.tail_ids) for question in questions) + 32
    limit = base.config.max_positions - longest
    examples = build_examples(rows, indicators, renderer, limit)
    if not examples:
        raise InvalidData("No conversation has a label for any indicator.", field="labels")
    content = data_hash(rows)
    identity = fingerprint(base.base_hash, content, recipe, questions)
    checkpoint = Checkpoint(output, identity)
    trainer = OnePassTrainer(base.model, questions, examples, recipe)
    if resume:
        trainer.step = checkpoint.load(trainer.stack, trainer.optimizer)
    trainer.train(checkpoint, clocks.steady, on_progress)
    references = []
    for index, indicator in enumerate(indicators):
        manifest = _manifest(base, base_name, content, recipe, indicator, trainer, index, clocks)
        references.append(_write(trainer, index, indicator, renderer, output, manifest))
    checkpoint.remove()
    return references
