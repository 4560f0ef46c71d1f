"""What a run learns from: base model, conversations, questions and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from descant.data import Example, build_examples, data_hash
from descant.model import LoadedModel
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidData
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
        return questions_for(self.indicators, self.renderer)

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
        return build_examples(rows, self.indicators, self.renderer, limit)


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
