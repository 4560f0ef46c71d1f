"""The base model as it is, asked in words, with or without examples; a completer."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

from descant.distillation.prompt import build_messages
from descant.engine import ScoreRequest, ScoreResult, Tail
from descant.llm import LLM
from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Message,
    Scorecard,
    Transcript,
    Usage,
)

Shots = Mapping[str, Sequence[Message]]
"""By indicator name: questions and right answers that stand in front."""


class PromptedBase:
    """Picks the likeliest label behind a chat that asks for it.

    What the chats of one indicator share, instructions and examples, is read once.
    """

    def __init__(self, llm: LLM, shots: Shots):
        """`llm` has no adapters."""
        self.llm = llm
        self.shots = shots

    def score(self, transcript: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        """Return an answer to every indicator."""
        started = time.perf_counter()
        requests = [self._request(transcript, each) for each in indicators]
        # The first one reads the conversation for the others, where nothing stands in front of it.
        results = [*self.llm.engine.run(requests[:1]), *self.llm.engine.run(requests[1:])]
        answers = tuple(map(_answer, indicators, results))
        return Scorecard(transcript.id, answers, Usage(0, 0, time.perf_counter() - started))

    def _request(self, transcript: Transcript, indicator: Indicator) -> ScoreRequest:
        system, question = _chat(transcript, indicator)
        renderer = self.llm.renderer
        shots = self.shots.get(indicator.name, ())
        ids = renderer.render_chat([system, *shots, question])
        labels = tuple(map(tuple, renderer.render_labels(indicator.labels)))
        prefix = tuple(ids[: len(ids) - len(renderer.invocation)])
        return ScoreRequest(prefix, (Tail(renderer.invocation, labels),))


def draw_shots(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator], count: int, seed: int
) -> Shots:
    """Draw examples for each indicator, one of each label in turn."""
    drawn = {}
    for indicator in indicators:
        order = random.Random(f"{seed}/{indicator.name}").sample(list(rows), len(rows))
        by_label = [
            [row for row in order if row.labels.get(indicator.name) == label]
            for label in indicator.labels
        ]
        turns = [row for rows_of in zip(*by_label, strict=False) for row in rows_of][:count]
        drawn[indicator.name] = [
            message
            for row in turns
            for message in (
                _chat(row.transcript, indicator)[1],
                Message("assistant", str(row.labels[indicator.name])),
            )
        ]
    return drawn


def _chat(transcript: Transcript, indicator: Indicator) -> list[Message]:
    messages = build_messages(transcript, indicator)
    return [Message(message["role"], message["content"]) for message in messages]


def _answer(indicator: Indicator, result: object) -> Answer:
    if not isinstance(result, ScoreResult):
        raise TypeError(f"{indicator.name}: {result}")
    [log_probabilities] = result.log_probabilities
    probabilities = dict(zip(indicator.labels, log_probabilities.exp().tolist(), strict=True))
    label = max(probabilities, key=lambda name: probabilities[name])
    return Answer(indicator.name, label, probabilities, probabilities[label], None)
