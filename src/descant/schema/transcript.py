"""A conversation: who said what, in order. Labels are kept beside it, never in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from descant.schema.errors import InvalidTranscript


@dataclass(frozen=True)
class Turn:
    """One utterance."""

    speaker: str
    """Free text such as ``agent`` or ``customer``; shown to the model as written."""
    text: str


@dataclass(frozen=True)
class Transcript:
    """One conversation.

    Raises:
        InvalidTranscript: the id is empty, or no turn carries any text.
    """

    id: str
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidTranscript("A conversation has an empty id.", field="id")
        if not any(turn.text.strip() for turn in self.turns):
            raise InvalidTranscript(
                f"Conversation {self.id!r} has no text.",
                field="turns",
                remedy="Send at least one turn with text.",
            )


@dataclass(frozen=True)
class LabelledTranscript:
    """A conversation and what people, or a teacher, said about it."""

    transcript: Transcript
    labels: Mapping[str, str | None] = field(default_factory=dict)
    """Indicator name to label; None means not applicable or unclear, and carries no loss."""
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Soft labels: indicator name to a probability per label, summing to 1; a label that is left out
    has none. An indicator that has them has a label too."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Indicator name to how much its label counts in training, such as the share of votes it got;
    1 where left out."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What is known about the conversation, such as ``agent``, ``language`` or ``time`` (ISO 8601). No
    model is shown it and nothing is learned from it; an evaluation can be cut along it."""


Conversation = Transcript | Sequence[Turn] | Mapping[str, Any]
"""A transcript, its turns, or the JSON form ``{"id": …, "turns": [{"speaker", "text"}]}``."""


def to_transcript(conversation: Conversation) -> Transcript:
    """Return the transcript that a conversation in any accepted form means.

    Raises:
        InvalidTranscript: it is empty, or a field is missing, unknown or not text.
    """
    if isinstance(conversation, Transcript):
        return conversation
    if not isinstance(conversation, Mapping):
        return Transcript("conversation", tuple(conversation))
    unknown = sorted(
        set(conversation) - {"id", "turns", "labels", "probabilities", "weights", "fields"}
    )
    if unknown:
        raise InvalidTranscript(
            f"Unknown field {unknown[0]!r}.", field=unknown[0], remedy="Known: id, turns."
        )
    turns = tuple(_turn(turn) for turn in conversation.get("turns", ()))
    return Transcript(str(conversation.get("id", "conversation")), turns)


def _turn(turn: object) -> Turn:
    if isinstance(turn, Turn):
        return turn
    if (
        not isinstance(turn, Mapping)
        or set(turn) != {"speaker", "text"}
        or not all(isinstance(value, str) for value in turn.values())
    ):
        raise InvalidTranscript("A turn needs a speaker and a text, both text.", field="turns")
    return Turn(turn["speaker"], turn["text"])
