"""What a one-pass run has to compute, in tokens, known before anything runs.

Every batch is planned beforehand, so this is arithmetic: A adapters, conversations of T tokens,
tails of s tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from descant.training.schedule import Batch


@dataclass(frozen=True)
class Workload:
    """Tokens of a whole run."""

    adapters: int
    conversations: int
    steps: int
    transcript_tokens: int
    """All conversations, each once: the sum of T."""
    read_tokens: int
    """As they are read: once where the reading is kept, at every visit where it is not."""
    tail_tokens: int
    """A * s for every conversation of a step, whether or not it has a label for the question."""
    one_by_one_tokens: int
    """Were each adapter trained alone: T + s for each adapter and visit of a conversation that has a
    label for it."""
    readings_bytes: int
    """Kept at the end."""
    read_again: int
    """Conversations whose readings do not fit and are computed at every visit."""

    @property
    def total_tokens(self) -> int:
        """Through the model in this run."""
        return self.read_tokens + self.tail_tokens

    @property
    def ratio(self) -> float:
        """How many times as many tokens one by one would take."""
        return self.one_by_one_tokens / self.total_tokens

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "total_tokens": self.total_tokens, "ratio": self.ratio}


@dataclass(frozen=True)
class RunShape:
    """The sizes that decide what a run takes."""

    batches: Sequence[Batch]
    conversation_tokens: Sequence[int]
    labelled: Sequence[AbstractSet[int]]
    """The questions that each conversation has a label for."""
    question_tokens: Sequence[int]
    """Each question's tail with its longest label."""
    reading_bytes_per_token: int
    reading_cache_bytes: int

    def tail_tokens(self, batch: Batch) -> int:
        """Return the tokens of a step's tails; shorter ones are filled up to the longest."""
        width = max(self.question_tokens[question] for question in batch.questions)
        return width * len(batch.questions) * len(batch.conversations)


def plan_workload(shape: RunShape) -> Workload:
    """Count what these batches take."""
    read_tokens, kept = _readings(shape)
    kept_tokens = sum(shape.conversation_tokens[index] for index in kept)
    return Workload(
        adapters=len(shape.question_tokens),
        conversations=len(shape.conversation_tokens),
        steps=len(shape.batches),
        transcript_tokens=sum(shape.conversation_tokens),
        read_tokens=read_tokens,
        tail_tokens=sum(map(shape.tail_tokens, shape.batches)),
        one_by_one_tokens=_one_by_one_tokens(shape),
        readings_bytes=kept_tokens * shape.reading_bytes_per_token,
        read_again=len(shape.conversation_tokens) - len(kept),
    )


def _readings(shape: RunShape) -> tuple[int, set[int]]:
    """Return how many tokens are read, and whose readings are kept: those that come while it fits."""
    kept: set[int] = set()
    kept_bytes = read_tokens = 0
    for batch in shape.batches:
        for index in batch.conversations:
            if index in kept:
                continue
            length = shape.conversation_tokens[index]
            read_tokens += length
            num_bytes = length * shape.reading_bytes_per_token
            if kept_bytes + num_bytes <= shape.reading_cache_bytes:
                kept.add(index)
                kept_bytes += num_bytes
    return read_tokens, kept


def _one_by_one_tokens(shape: RunShape) -> int:
    return sum(
        shape.conversation_tokens[index] + shape.question_tokens[question]
        for batch in shape.batches
        for index in batch.conversations
        for question in shape.labelled[index] & set(batch.questions)
    )
