from __future__ import annotations

from typing import Any

import pytest

from descant.distillation import Opinion, ScoreTeacher
from descant.distillation.teacher import Nonsense, Refused
from tests.distillation.calls import MOOD, POLITE, transcript

SOFT = ScoreTeacher("v1", soft=True)
[ASK] = SOFT.asks(transcript(0), [POLITE, MOOD])


def card(**changes: Any) -> dict[str, Any]:
    mood = {"bad": 0.125, "fair": 0.25, "good": 0.625}
    answers = [
        {"indicator": "polite", "probabilities": {"no": 0.25, "yes": 0.75}, "unanswered": None},
        {"indicator": "mood", "probabilities": mood, "unanswered": None, **changes},
    ]
    return {"answers": answers, "usage": {"tokens_read": 90, "tokens_shared": 40}}


def test_one_request_asks_everything_about_a_conversation() -> None:
    [body] = SOFT.bodies(ASK)
    assert body["indicators"] == ["polite", "mood"]
    assert body["conversation"]["turns"][1] == {
        "speaker": "customer",
        "text": "I want my money back",
    }


def test_probabilities_are_soft_labels_or_only_labels() -> None:
    soft = SOFT.opinions(ASK, card())
    assert soft["mood"] == Opinion("good", {"bad": 0.125, "fair": 0.25, "good": 0.625})
    hard = ScoreTeacher("v1", soft=False).opinions(ASK, card())
    assert hard == {"polite": Opinion("yes"), "mood": Opinion("good")}


def test_an_indicator_without_an_answer_refuses_the_request_with_its_reason() -> None:
    with pytest.raises(Refused, match="mood: no adapter"):
        SOFT.opinions(ASK, card(label=None, probabilities={}, unanswered="no adapter"))


@pytest.mark.parametrize(
    "probabilities",
    [
        {"bad": 1.0},
        {"bad": 0.2, "fair": 0.2, "good": 0.2},
        {"bad": -0.5, "fair": 1.0, "good": 0.5},
        {"bad": 0.1, "fair": 0.1, "good": 0.1, "other": 0.7},
        {"bad": None, "fair": 0.5, "good": 0.5},
        {"bad": "half", "fair": 0.5, "good": 0.0},
        {"bad": float("nan"), "fair": 0.5, "good": 0.5},
        [],
    ],
)
def test_probabilities_of_other_labels_are_nonsense(probabilities: Any) -> None:
    with pytest.raises(Nonsense):
        SOFT.opinions(ASK, card(probabilities=probabilities))


@pytest.mark.parametrize("document", [None, [], {}, {"answers": [{}]}, {"answers": [None]}])
def test_what_is_no_scorecard_is_nonsense(document: Any) -> None:
    with pytest.raises(Nonsense):
        SOFT.opinions(ASK, document)
    assert SOFT.used_tokens(document) is None


def test_tokens_are_those_of_the_scorecard() -> None:
    assert SOFT.used_tokens(card()) == (90, 0)
    assert SOFT.most_tokens(ASK, 1000)[0] >= 2 * 1000


def test_a_key_knows_teacher_conversation_and_labels() -> None:
    asks = [
        (SOFT, transcript(0), [POLITE, MOOD]),
        (SOFT, transcript(1), [POLITE, MOOD]),
        (SOFT, transcript(0), [POLITE]),
        (ScoreTeacher("v2", soft=True), transcript(0), [POLITE, MOOD]),
        (ScoreTeacher("v1", soft=False), transcript(0), [POLITE, MOOD]),
    ]
    contents = [teacher.content(teacher.asks(call, which)[0]) for teacher, call, which in asks]
    assert all(contents.count(each) == 1 for each in contents)
