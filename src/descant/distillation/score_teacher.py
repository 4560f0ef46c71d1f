"""A teacher behind Descant's own ``/scores``: all questions about a conversation in one request.

Its adapters give a probability for every label without being asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from descant.distillation.teacher import Ask, Nonsense, Opinion, Refused, count
from descant.schema import Indicator, Transcript

_TEMPLATE_TOKENS = 256
_SUM_TOLERANCE = 1e-2


class ScoreTeacher:
    """Asks the adapters of another Descant server, by the names of their indicators."""

    path = "/scores"

    def __init__(self, model: str, soft: bool):
        """`model` tells the answers of one set of adapters from those of another.

        With `soft`, opinions have the probabilities of all labels.
        """
        self._model = model
        self._soft = soft

    def asks(self, transcript: Transcript, indicators: Sequence[Indicator]) -> list[Ask]:
        """Return one request for all indicators."""
        return [Ask(transcript, tuple(indicators))]

    def content(self, ask: Ask) -> Mapping[str, Any]:
        """Return model, conversation and indicators with their labels."""
        labels = {indicator.name: list(indicator.labels) for indicator in ask.indicators}
        [body] = self.bodies(ask)
        return {"model": self._model, "soft": self._soft, "labels": labels, **body}

    def bodies(self, ask: Ask) -> list[dict[str, Any]]:
        """Return the conversation, without its id, and what is asked about it."""
        turns = [{"speaker": turn.speaker, "text": turn.text} for turn in ask.transcript.turns]
        names = [indicator.name for indicator in ask.indicators]
        return [{"conversation": {"turns": turns}, "indicators": names}]

    def took(self, ask: Ask, body: Mapping[str, Any]) -> None:
        """Do nothing: there is one form."""

    def most_tokens(self, ask: Ask, num_bytes: int) -> tuple[int, int]:
        """Return a reading of everything for each adapter: plain LoRA adapters share none."""
        return (num_bytes + _TEMPLATE_TOKENS) * len(ask.indicators), 0

    def opinions(self, ask: Ask, document: Any) -> dict[str, Opinion]:
        """Read the scorecard.

        Raises:
            Nonsense: it is no scorecard of these indicators and labels.
            Refused: an indicator was not answered.
        """
        try:
            answers = {answer["indicator"]: answer for answer in document["answers"]}
            return {i.name: self._opinion(i, answers[i.name]) for i in ask.indicators}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Nonsense("it is no scorecard of these indicators") from error

    def output(self, document: Any) -> None:
        """Return nothing: opinions say it all."""

    def used_tokens(self, document: Any) -> tuple[int, int] | None:
        """Return what the scorecard's usage says; nothing is written."""
        usage = document.get("usage") if isinstance(document, dict) else None
        read = count(usage.get("tokens_read")) if isinstance(usage, dict) else None
        return None if read is None else (read, 0)

    def _opinion(self, indicator: Indicator, answer: Mapping[str, Any]) -> Opinion:
        if answer["unanswered"] is not None:
            return self._missing(indicator, str(answer["unanswered"]))
        if indicator.is_text:
            return Opinion(str(answer["label"]))
        shares = {label: float(answer["probabilities"][label]) for label in indicator.labels}
        if len(answer["probabilities"]) != len(shares) or not _is_distribution(shares):
            raise Nonsense(f"its probabilities of {indicator.name!r} are not those of its labels")
        return Opinion(max(shares, key=shares.__getitem__), shares if self._soft else {})

    def _missing(self, indicator: Indicator, reason: str) -> Opinion:
        raise Refused(f"{indicator.name}: {reason}")


class ScorecardTeacher(ScoreTeacher):
    """Asks for scorecards that are to be judged: what one leaves unanswered is an outcome of its own."""

    def _missing(self, indicator: Indicator, reason: str) -> Opinion:
        return Opinion(None, unanswered=reason)


def _is_distribution(shares: Mapping[str, float]) -> bool:
    total = math.fsum(shares.values())
    return min(shares.values()) >= 0 and abs(total - 1) <= _SUM_TOLERANCE
