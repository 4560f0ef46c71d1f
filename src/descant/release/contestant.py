"""Whoever answered the task, with what it took."""

from __future__ import annotations

from dataclasses import dataclass

from descant.evaluation import Predictions
from descant.release.endpoint_run import EndpointFigures


@dataclass(frozen=True)
class Contestant:
    """One set of answers to the task."""

    name: str
    """For people: what answered."""
    identity: str
    """By which exactly these answers can be had again: hashes of adapters, or of a recording."""
    predictions: Predictions
    conversation_s: float | None = None
    """All indicators, one conversation at a time; of an endpoint, all replies about one added up, as
    many requests as were under way at once. None where it was not measured."""
    money_per_1000: float | None = None
    """Conversations."""
    figures: EndpointFigures | None = None
    """What its answers took; None where it was not asked over HTTP."""

    @property
    def unanswered_share(self) -> float:
        """Of everything asked."""
        outcomes = self.predictions.outcomes
        missing = sum(outcome.answer.label is None for outcome in outcomes)
        return missing / max(len(outcomes), 1)
