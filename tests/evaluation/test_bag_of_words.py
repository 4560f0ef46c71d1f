from __future__ import annotations

import itertools

import pytest

from descant.evaluation import BagOfWords, Task, run_task, score_indicator
from descant.evaluation.bag_of_words import SOURCE
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import InvalidData
from tests.evaluation.outcomes import BINARY, INTENT


def row(call_id: str, text: str, **labels: str | None) -> LabelledTranscript:
    return LabelledTranscript(Transcript(call_id, (Turn("agent", text),)), labels)


def talk(count: int, start: int = 0) -> list[LabelledTranscript]:
    """Calls that greet with a hello or do not, about three matters."""
    matters = {"buy": "order a lamp", "ask": "know the hours", "return": "send it back"}
    pairs = itertools.cycle(itertools.product(("yes", "no"), matters))
    return [
        row(
            str(at),
            ("hello there " if greeted == "yes" else "so what ") + f"{matters[matter]} word{at}",
            greeting=greeted,
            intent=matter,
        )
        for at, (greeted, matter) in zip(range(start, start + count), pairs, strict=False)
    ]


@pytest.mark.parametrize("count", [24, 120])
def test_words_that_give_the_label_away_are_learned(count: int) -> None:
    bag = BagOfWords.fit(talk(count), (BINARY, INTENT))
    predictions = run_task(Task("talk", talk(30, start=1000), (BINARY, INTENT)), bag)
    for indicator in (BINARY, INTENT):
        result = score_indicator(indicator, predictions.of(indicator.name))
        assert result.macro_f1 is not None
        assert result.macro_f1.value == 1.0


def test_a_scorecard_has_every_probability_and_its_source() -> None:
    bag = BagOfWords.fit(talk(24), (BINARY, INTENT))
    scorecard = bag.score(row("x", "hello there").transcript, (INTENT, BINARY))
    assert scorecard.transcript_id == "x"
    assert [answer.indicator for answer in scorecard.answers] == ["intent", "greeting"]
    for answer, indicator in zip(scorecard.answers, (INTENT, BINARY), strict=True):
        assert tuple(answer.probabilities) == indicator.labels
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.confidence == max(answer.probabilities.values())
        assert answer.source == SOURCE == "bag-of-words"
    assert scorecard.answers[1].label == "yes"
    assert scorecard.usage.time_s >= 0


def test_a_label_never_seen_has_probability_zero() -> None:
    rows = [row for row in talk(24) if row.labels["intent"] != "return"]
    (answer,) = BagOfWords.fit(rows, (INTENT,)).score(rows[0].transcript, (INTENT,)).answers
    assert answer.probabilities["return"] == 0.0
    assert tuple(answer.probabilities) == INTENT.labels


def test_rows_without_a_label_teach_nothing() -> None:
    unlabelled = [row(f"u{at}", "so what about it", greeting=None) for at in range(25)]
    bag = BagOfWords.fit(unlabelled + talk(24), (BINARY,))
    answers = [bag.score(row.transcript, (BINARY,)).answers[0].label for row in talk(24)]
    assert answers == [row.labels["greeting"] for row in talk(24)]


@pytest.mark.parametrize(
    ("label", "reason"), [("yes", "only the label 'yes'"), (None, "have no label")]
)
def test_too_little_to_learn_is_unanswered_with_the_reason(label: str | None, reason: str) -> None:
    rows = [row("1", "hello", greeting=label), row("2", "bye", greeting=label)]
    (answer,) = BagOfWords.fit(rows, (BINARY,)).score(rows[0].transcript, (BINARY,)).answers
    assert answer.label is None
    assert reason in (answer.unanswered or "")


def test_an_indicator_that_was_not_learned_is_unanswered() -> None:
    (answer,) = BagOfWords.fit(talk(24), (BINARY,)).score(talk(1)[0].transcript, (INTENT,)).answers
    assert answer.unanswered == "It was not learned."


def test_words_unknown_to_the_bag_still_get_an_answer() -> None:
    bag = BagOfWords.fit(talk(24), (BINARY,))
    (answer,) = bag.score(row("x", "🙂 你好 grüezi").transcript, (BINARY,)).answers
    assert answer.label in BINARY.labels


def test_conversations_without_words_are_refused() -> None:
    nothing = LabelledTranscript(Transcript("1", (Turn("🙂", "!"),)), {"greeting": "yes"})
    for rows in ([], [nothing]):
        with pytest.raises(InvalidData, match="no words"):
            BagOfWords.fit(rows, (BINARY,))


def test_the_same_seed_gives_the_same_probabilities() -> None:
    first, second = (
        BagOfWords.fit(talk(24), (BINARY, INTENT), seed=3).score(
            talk(1)[0].transcript, (BINARY, INTENT)
        )
        for _ in range(2)
    )
    assert first.answers == second.answers
