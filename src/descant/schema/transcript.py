"""A conversation: who said what, in order. Labels are kept beside it, never in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    """A conversation and what people said about it."""

    transcript: Transcript
    labels: Mapping[str, str | None] = field(default_factory=dict)
    """Indicator name to label; None means not applicable or unclear, and carries no loss."""
