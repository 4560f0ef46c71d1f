from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest

from descant.data import LeakWordConfig, find_leak_words
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import InvalidConfig
from tests.data.rows import call

_TALK = [f"word{at}" for at in range(60)]


def talk(seed: int) -> str:
    return " ".join(random.Random(seed).choices(_TALK, k=40))


def calls(count: int, hinted: int, slips: int = 0) -> list[LabelledTranscript]:
    """Half yes, half no; the first `hinted` of yes and `slips` of no hold a phrase."""
    rows = []
    for at in range(count):
        label = "yes" if at % 2 else "no"
        hint = " case closed by amy" if at // 2 < (hinted if at % 2 else slips) else ""
        rows.append(call(str(at), talk(at) + hint, labels={"solved": label, "other": None}))
    return rows


def test_a_phrase_that_gives_the_label_away_is_found_with_its_figures() -> None:
    word, twin = find_leak_words(calls(300, hinted=100, slips=2), ["solved", "other"])
    assert (word.phrase, twin.phrase) == ("case closed by", "closed by amy")
    assert (word.indicator, word.label) == ("solved", "yes")
    assert word.conversations == 102
    assert word.precision == pytest.approx(100 / 102)
    assert word.recall == pytest.approx(100 / 150)
    assert word.base_rate == 0.5
    interval = binomtest(100, 102).proportion_ci(method="wilson")
    assert word.precision_low == pytest.approx(interval.low)


def test_words_in_order_are_found_where_single_ones_say_nothing() -> None:
    rows = [
        call(
            str(at),
            f"{talk(at)} {'not good' if at % 2 else 'good not'}",
            labels={"a": "ny"[at % 2]},
        )
        for at in range(200)
    ]
    found = find_leak_words(rows, ["a"])
    assert {(word.label, word.phrase) for word in found} == {("y", "not good"), ("n", "good not")}


def test_a_speaker_gives_away_too() -> None:
    rows = []
    for at in range(200):
        speaker, label = ("Supervisor", "yes") if at % 2 else ("agent", "no")
        turns = (Turn("customer", talk(at)), Turn(speaker, talk(at + 1000)))
        rows.append(LabelledTranscript(Transcript(str(at), turns), {"escalated": label}))
    assert [(word.phrase, word.precision) for word in find_leak_words(rows, ["escalated"])] == [
        ("agent:", 1.0),
        ("supervisor:", 1.0),
    ]


@pytest.mark.parametrize("hinted", [1, 5, 20])
def test_rare_words_are_not_suspected(hinted: int) -> None:
    assert find_leak_words(calls(60, hinted), ["solved"]) == ()


def test_words_in_few_of_the_conversations_with_the_label_are_not_suspected() -> None:
    assert find_leak_words(calls(1000, hinted=140), ["solved"]) == ()


@pytest.mark.parametrize("seed", range(3))
def test_chance_alone_makes_no_suspects(seed: int) -> None:
    drawn = random.Random(seed)
    rows = [
        call(str(at), talk(seed * 10_000 + at), labels={"a": drawn.choices("ny", [9, 1])[0]})
        for at in range(400)
    ]
    assert find_leak_words(rows, ["a"]) == ()


def test_where_nearly_all_have_the_label_a_common_word_is_no_suspect() -> None:
    rows = [call(str(at), talk(at), labels={"a": "y" if at % 20 else "n"}) for at in range(600)]
    assert find_leak_words(rows, ["a"]) == ()


def test_nothing_to_look_at_gives_nothing() -> None:
    assert find_leak_words([], ["a"]) == ()
    assert find_leak_words([call("1", "...")], ["a"]) == ()


@pytest.mark.parametrize("wrong", [{"max_words": 0}, {"min_precision": 1.0}, {"min_recall": 0.0}])
def test_a_config_without_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig):
        LeakWordConfig(**wrong)  # type: ignore[arg-type]
