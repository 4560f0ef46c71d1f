"""Measures one-pass training against training the same adapters one by one, same trainer, same data.

Both read every conversation without gradient and train on the tails; the difference is how often a
conversation is read. One by one is timed on a few adapters and multiplied.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from descant.data import Example
from descant.model import LoadedModel, load_model
from descant.text import Renderer, Tokenizer
from descant.training import Hyperparameters, OnePassTrainer, Question


@dataclass(frozen=True)
class TrainFigures:
    """Medians over the runs, in seconds."""

    adapters: int
    conversations: int
    tokens: int
    tail_tokens: int
    one_pass_s: float
    one_by_one_s: float
    """Extrapolated from `one_by_one_adapters` adapters."""
    gain: float
    """one_by_one_s / one_pass_s"""
    arithmetic: float
    """A (T + s) / (T + A s), the ratio of tokens."""
    gain_over_arithmetic: float
    one_by_one_adapters: int
    rank: int
    runs: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def measure_training(  # noqa: PLR0913 - one number each
    model: str,
    adapters: int,
    conversations: int,
    tokens: int,
    runs: int,
    settings: Hyperparameters,
    clock: Callable[[], float],
    on_progress: Callable[[str], None] = lambda message: None,
) -> TrainFigures:
    """Load the model, make random conversations and labels, and time one epoch both ways."""
    on_progress(f"loading {model}")
    base = load_model(model)
    renderer = Renderer(Tokenizer.load(base.folder))
    questions = _questions(renderer, adapters)
    examples = _examples(base, questions, conversations, tokens)
    alone = min(adapters, 2)
    one_pass, one_by_one = [], []
    for run in range(runs + 1):
        on_progress(f"run {run} of {runs}" if run else "warming up")
        together_s = _epoch_s(base, questions, examples, settings, clock)
        alone_s = sum(_epoch_s(base, [q], examples, settings, clock) for q in questions[:alone])
        if run:
            one_pass.append(together_s)
            one_by_one.append(alone_s / alone * adapters)
    tail_tokens = len(questions[0].tail_ids)
    gain = statistics.median(one_by_one) / statistics.median(one_pass)
    arithmetic = adapters * (tokens + tail_tokens) / (tokens + adapters * tail_tokens)
    return TrainFigures(
        adapters=adapters,
        conversations=conversations,
        tokens=tokens,
        tail_tokens=tail_tokens,
        one_pass_s=statistics.median(one_pass),
        one_by_one_s=statistics.median(one_by_one),
        gain=gain,
        arithmetic=arithmetic,
        gain_over_arithmetic=gain / arithmetic,
        one_by_one_adapters=alone,
        rank=settings.rank,
        runs=runs,
        threads=torch.get_num_threads(),
    )


def _epoch_s(
    base: LoadedModel,
    questions: Sequence[Question],
    examples: Sequence[Example],
    settings: Hyperparameters,
    clock: Callable[[], float],
) -> float:
    trainer = OnePassTrainer(base.model, questions, examples, settings)
    started = clock()
    for batch in trainer.remaining_batches:
        trainer.train_step(batch)
    return clock() - started


def _questions(renderer: Renderer, count: int) -> list[Question]:
    labels = tuple(map(tuple, renderer.render_labels(["no", "yes"])))
    return [Question(f"question_{index}", renderer.invocation, labels) for index in range(count)]


def _examples(
    base: LoadedModel, questions: Sequence[Question], conversations: int, tokens: int
) -> list[Example]:
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(1000, base.config.vocab_size, (conversations, tokens), generator=generator)
    targets = torch.randint(0, 2, (conversations, len(questions)), generator=generator).tolist()
    names = [question.name for question in questions]
    return [
        Example(f"call-{row:04}", tuple(ids[row].tolist()), dict(zip(names, labels, strict=True)))
        for row, labels in enumerate(targets)
    ]
