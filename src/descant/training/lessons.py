"""What a run learns from: base model, conversations, questions and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from descant.data import Example, answer_lists, build_examples, data_hash
from descant.model import LoadedModel
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidData, join_errors
from descant.text import Renderer
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question


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
        if not self.examples:
            raise InvalidData("No conversation has a label for any indicator.", field="labels")

    @cached_property
    def questions(self) -> list[Question]:
        """The indicators as token ids."""
        return questions_for(self.indicators, self.renderer, self.answers)

    @cached_property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """By indicator name: its labels, or every text that is learned or judged by."""
        return answer_lists([*self.rows, *self.dev], self.indicators)

    @cached_property
    def examples(self) -> list[Example]:
        """The conversations as token ids, each with room for the longest tail and label."""
        return self._examples(self.rows)

    @cached_property
    def dev_examples(self) -> list[Example]:
        """The conversations to judge by, likewise."""
        return self._examples(self.dev)

    @cached_property
    def data_hash(self) -> str:
        """Over what is learned from; what it is judged by is no part of it."""
        return data_hash(self.rows)

    def _examples(self, rows: Sequence[LabelledTranscript]) -> list[Example]:
        longest = max(len(q.tail_ids) + max(map(len, q.labels)) for q in self.questions)
        limit = self.base.config.max_positions - longest
        return build_examples(rows, self.indicators, self.renderer, limit, self.answers)


def questions_for(
    indicators: Sequence[Indicator],
    renderer: Renderer,
    answers: Mapping[str, Sequence[str]] | None = None,
) -> list[Question]:
    """Return the indicators as token ids; `answers` holds the texts of those that have no labels.

    Raises:
        InvalidData: texts are longer than their indicator allows.
    """
    return [
        Question(
            indicator.name,
            tuple(renderer.render_tail(indicator)),
            _texts(indicator, renderer, (answers or {})[indicator.name])
            if indicator.is_text
            else tuple(map(tuple, renderer.render_labels(indicator.labels))),
            indicator.is_text,
        )
        for indicator in indicators
    ]


def _texts(
    indicator: Indicator, renderer: Renderer, texts: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    assert indicator.max_tokens is not None, "an indicator says so itself"
    rendered = [tuple(renderer.render_answer(text)) for text in texts]
    too_long = [
        InvalidData(
            f"labels.{indicator.name}: {text!r} has {len(ids)} tokens, more than "
            f"{indicator.max_tokens}.",
            field=f"labels.{indicator.name}",
            remedy="Write it shorter, or raise the indicator's max_tokens.",
        )
        for text, ids in zip(texts, rendered, strict=True)
        if len(ids) > indicator.max_tokens
    ]
    if too_long:
        raise join_errors(too_long)
    return tuple(rendered)
