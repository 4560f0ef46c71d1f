from __future__ import annotations

from collections.abc import Sequence

import pytest

from descant.evaluation import Predictions, Task, run_task
from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Scorecard,
    Transcript,
    Turn,
    Usage,
    unanswered,
)
from descant.schema.errors import (
    ContextTooLong,
    DuplicateId,
    InvalidData,
    OutOfBlocks,
)
from tests.evaluation.outcomes import BINARY, INTENT, answer


def row(call_id: str, **labels: str | None) -> LabelledTranscript:
    return LabelledTranscript(Transcript(call_id, (Turn("agent", call_id),)), labels)


ROWS = [
    row("1", greeting="yes", intent=None),
    row("2", greeting="no", intent="buy"),
    row("3", greeting=None),
]
TASK = Task("calls", ROWS, (BINARY, INTENT))


class Recorder:
    """Answers the first label, or whatever it is told for an indicator; raises for some calls."""

    def __init__(self, raises: Exception | None = None, **answers: Sequence[Answer]) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.raises = raises
        self.answers = answers

    def score(self, transcript: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        self.asked.append((transcript.id, [indicator.name for indicator in indicators]))
        if self.raises is not None and transcript.id == "1":
            raise self.raises
        answers: list[Answer] = []
        for indicator in indicators:
            default = [answer(indicator.name, indicator.labels[0])]
            answers += self.answers.get(indicator.name, default)
        return Scorecard(transcript.id, tuple(answers), Usage(1, 0, 0.0))


def summary(predictions: Predictions) -> list[tuple[str, str, str, str | None]]:
    return [
        (o.transcript_id, o.indicator, o.expected, o.answer.label) for o in predictions.outcomes
    ]


def test_only_labelled_indicators_are_asked_and_kept() -> None:
    recorder = Recorder()
    predictions = run_task(TASK, recorder)
    assert recorder.asked == [("1", ["greeting"]), ("2", ["greeting", "intent"])]
    assert predictions.task == "calls"
    assert summary(predictions) == [
        ("1", "greeting", "yes", "no"),
        ("2", "greeting", "no", "no"),
        ("2", "intent", "buy", "buy"),
    ]
    assert [outcome.transcript_id for outcome in predictions.of("greeting")] == ["1", "2"]


def test_progress_counts_every_conversation() -> None:
    seen: list[tuple[int, int]] = []
    run_task(TASK, Recorder(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "no answer"),
        ([unanswered("greeting", "no adapter")], "no adapter"),
        ([answer("greeting", "maybe")], "'maybe' is not one of the labels"),
        ([Answer("greeting", None, {}, None, None)], "no reason"),
    ],
)
def test_what_is_not_answered_stays_unanswered_with_a_reason(
    given: list[Answer], reason: str
) -> None:
    predictions = run_task(TASK, Recorder(greeting=given))
    for outcome in predictions.of("greeting"):
        assert outcome.answer.label is None
        assert reason in (outcome.answer.unanswered or "")
    assert predictions.of("intent")[0].answer.label == "buy"


def test_of_several_sources_the_first_counts() -> None:
    given = [answer("greeting", "yes"), answer("greeting", "no")]
    predictions = run_task(TASK, Recorder(greeting=given))
    assert {outcome.answer.label for outcome in predictions.of("greeting")} == {"yes"}


def test_a_conversation_that_cannot_be_read_is_unanswered_and_the_run_goes_on() -> None:
    predictions = run_task(TASK, Recorder(ContextTooLong("Conversation '1' is too long.")))
    first, second = predictions.of("greeting")
    assert first.answer.unanswered == "Conversation '1' is too long."
    assert second.answer.label == "no"


def test_an_error_that_is_not_the_conversations_ends_the_run() -> None:
    with pytest.raises(OutOfBlocks):
        run_task(TASK, Recorder(OutOfBlocks("No room.")))


def test_a_task_that_cannot_be_judged_is_refused() -> None:
    with pytest.raises(InvalidData, match="no rows"):
        Task("calls", [], (BINARY,))
    with pytest.raises(InvalidData, match="no indicators"):
        Task("calls", ROWS, ())
    with pytest.raises(InvalidData, match="'4': 'maybe'"):
        Task("calls", [row("4", greeting="maybe")], (BINARY,))
    with pytest.raises(DuplicateId, match="'1'"):
        Task("calls", [*ROWS, ROWS[0]], (BINARY,))
