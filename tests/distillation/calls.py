"""Conversations and indicators for the tests of this room."""

from __future__ import annotations

from descant.schema import Indicator, Transcript, Turn

POLITE = Indicator("polite", "Polite?", ("no", "yes"), ("yes",), "binary", "polite")
MOOD = Indicator("mood", "Mood?", ("bad", "fair", "good"), ("good",), "ordinal", "mood")


def transcript(at: int) -> Transcript:
    """Every second one says hello."""
    greeting = "hello there" if at % 2 == 0 else "what is it"
    turns = (Turn("agent", f"{greeting}, number {at}"), Turn("customer", "I want my money back"))
    return Transcript(f"call-{at}", turns)


def transcripts(count: int) -> list[Transcript]:
    return [transcript(at) for at in range(count)]
