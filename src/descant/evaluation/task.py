"""A task is labelled conversations and the indicators to judge; a completer is whoever answers.

The same task runs on the Python API, a server, a bag of words or a recording: all it takes is a
`score` method. What was not answered stays on record as not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from descant.data import validate_labels
from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Scorecard,
    Transcript,
    unanswered,
)
from descant.schema.errors import ContextTooLong, DuplicateId, InvalidData, InvalidTranscript


class Completer(Protocol):
    """Whoever answers indicators about a conversation."""

    def score(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        """Return an answer to every indicator."""
        ...


@dataclass(frozen=True)
class Task:
    """What is judged.

    Raises:
        InvalidData: there are no rows or no indicators, or a label is not one of its indicator's.
        DuplicateId: two rows have the same id.
    """

    name: str
    rows: Sequence[LabelledTranscript]
    indicators: Sequence[Indicator]

    def __post_init__(self) -> None:
        for field in ("rows", "indicators"):
            if not getattr(self, field):
                raise InvalidData(f"Task {self.name!r} has no {field}.", field=field)
        seen: set[str] = set()
        for row in self.rows:
            if row.transcript.id in seen:
                raise DuplicateId(f"Task {self.name!r}: id {row.transcript.id!r} occurs twice.")
            seen.add(row.transcript.id)
        validate_labels(self.rows, self.indicators)


@dataclass(frozen=True)
class Outcome:
    """What was right and what was answered, for one conversation and one indicator."""

    transcript_id: str
    indicator: str
    expected: str
    answer: Answer


@dataclass(frozen=True)
class Predictions:
    """Every outcome of one completer on one task; conversations without a label have none."""

    task: str
    outcomes: tuple[Outcome, ...]

    def of(self, indicator: str) -> tuple[Outcome, ...]:
        """Return the outcomes of one indicator, in the order of the rows."""
        return tuple(self._by_indicator.get(indicator, ()))

    @cached_property
    def _by_indicator(self) -> dict[str, list[Outcome]]:
        found: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            found.setdefault(outcome.indicator, []).append(outcome)
        return found


def run_task(
    task: Task,
    completer: Completer,
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Ask the completer about every conversation, for the indicators that have a label there.

    `on_progress` gets the number of conversations done and of all. A conversation that the
    completer cannot read is unanswered with its reason; any other error ends the run.
    """
    outcomes: list[Outcome] = []
    for done, row in enumerate(task.rows, start=1):
        asked = [i for i in task.indicators if row.labels.get(i.name) is not None]
        if asked:
            outcomes += _outcomes(row, asked, _answers(completer, row.transcript, asked))
        if on_progress is not None:
            on_progress(done, len(task.rows))
    return Predictions(task.name, tuple(outcomes))


def _answers(
    completer: Completer, transcript: Transcript, asked: Sequence[Indicator]
) -> dict[str, Answer]:
    try:
        answers = completer.score(transcript, asked).answers
    except (ContextTooLong, InvalidTranscript) as error:
        return {indicator.name: unanswered(indicator.name, str(error)) for indicator in asked}
    # Of several sources side by side the first one counts.
    return {answer.indicator: answer for answer in reversed(answers)}


def _outcomes(
    row: LabelledTranscript, asked: Sequence[Indicator], answers: dict[str, Answer]
) -> list[Outcome]:
    return [
        Outcome(
            row.transcript.id,
            indicator.name,
            str(row.labels[indicator.name]),
            _checked(indicator, answers.get(indicator.name)),
        )
        for indicator in asked
    ]


def _checked(indicator: Indicator, answer: Answer | None) -> Answer:
    if answer is None:
        return unanswered(indicator.name, "The completer gave no answer.")
    is_foreign = not indicator.is_text and answer.label not in indicator.labels
    if answer.label is not None and is_foreign:
        reason = f"The answer {answer.label!r} is not one of the labels."
        return unanswered(indicator.name, reason, answer.adapter)
    if answer.label is None and answer.unanswered is None:
        return unanswered(indicator.name, "The completer gave no reason.", answer.adapter)
    return answer
