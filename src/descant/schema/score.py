"""Answers: what an adapter said about a conversation, or why it said nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from descant.schema.adapter import AdapterRef


@dataclass(frozen=True)
class Answer:
    """One source's answer to one indicator.

    Either `label` is set with the probability of every label, or `unanswered` says why not.
    """

    indicator: str
    label: str | None
    probabilities: Mapping[str, float]
    """Over the label set, summing to 1, calibrated where the adapter has a calibration; empty when
    unanswered, and where the answer is a text."""
    confidence: float | None
    """The probability of `label`; None of a text."""
    adapter: AdapterRef | None
    source: str = "model"
    """Who answered; a scorecard may keep several sources side by side."""
    unanswered: str | None = None
    raw_probabilities: Mapping[str, float] | None = None
    """What the model gave, where `probabilities` are calibrated ones."""


@dataclass(frozen=True)
class Usage:
    """What one scorecard cost."""

    tokens_read: int
    """Tokens that went through the model for this scorecard, reading and tails together."""
    tokens_shared: int
    """Tokens that did not have to be read again because they were shared between adapters or cached."""
    time_s: float


@dataclass(frozen=True)
class Scorecard:
    """Every answer about one conversation."""

    transcript_id: str
    answers: tuple[Answer, ...]
    usage: Usage

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, as sent over HTTP and printed with ``--json``."""
        return asdict(self)


def unanswered(indicator: str, reason: str, adapter: AdapterRef | None = None) -> Answer:
    """Return the answer that says why there is none."""
    return Answer(indicator, None, {}, None, adapter, unanswered=reason)
