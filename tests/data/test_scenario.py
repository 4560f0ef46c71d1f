from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from random import Random

from descant.data.leakage import check_leakage
from descant.data.samples import sample_indicators
from descant.data.scenario import generate_calls
from descant.data.scenario_phrases import (
    Voice,
    industries,
    phrase_banks,
    split_turns,
    value_lists,
)
from descant.data.scenario_plan import draw_plan
from descant.data.transcripts import validate_labels
from descant.schema import LabelledTranscript


@cache
def many_calls() -> list[LabelledTranscript]:
    return generate_calls(1000, seed=5)


def words_of(call: LabelledTranscript) -> list[str]:
    return re.findall(r"[a-z']+", " ".join(turn.text for turn in call.transcript.turns).lower())


def test_same_seed_gives_same_calls() -> None:
    assert generate_calls(20, seed=3) == generate_calls(20, seed=3)


def test_other_seed_gives_other_calls() -> None:
    mine = {call.transcript.turns for call in generate_calls(20, seed=3)}
    assert not mine & {call.transcript.turns for call in generate_calls(20, seed=4)}


def test_fewer_calls_are_the_first_of_more() -> None:
    assert generate_calls(5, seed=3) == generate_calls(20, seed=3)[:5]


def test_no_calls() -> None:
    assert generate_calls(0, seed=1) == []


def test_ids_are_unique_over_calls_and_seeds() -> None:
    ids = [call.transcript.id for seed in (1, 2) for call in generate_calls(50, seed)]
    assert len(set(ids)) == 100


def test_labels_are_valid_and_complete() -> None:
    indicators = sample_indicators()
    validate_labels(many_calls(), indicators)
    names = {indicator.name for indicator in indicators}
    assert all(set(call.labels) == names for call in many_calls())


def test_labels_do_not_show_in_the_text() -> None:
    check_leakage(many_calls(), sample_indicators())


def test_every_label_is_common_enough_to_learn() -> None:
    calls = many_calls()[:600]
    for indicator in sample_indicators():
        counts = Counter(call.labels[indicator.name] for call in calls)
        known = sum(count for label, count in counts.items() if label is not None)
        assert known >= 450, indicator.name
        positive = sum(counts[label] for label in indicator.positive) / known
        assert 0.25 <= positive <= 0.62, indicator.name
        assert min(counts[label] / known for label in indicator.labels) >= 0.15, indicator.name


def test_no_label_gives_another_one_away() -> None:
    calls = many_calls()
    names = [indicator.name for indicator in sample_indicators()]
    positive = {indicator.name: set(indicator.positive) for indicator in sample_indicators()}
    for first in names:
        for second in names[names.index(first) + 1 :]:
            both = [call for call in calls if None not in (call.labels[first], call.labels[second])]
            same = sum(
                (call.labels[first] in positive[first]) == (call.labels[second] in positive[second])
                for call in both
            )
            assert 0.35 < same / len(both) < 0.65, (first, second)


def test_calls_have_the_size_of_calls() -> None:
    for call in many_calls():
        words = sum(len(turn.text.split()) for turn in call.transcript.turns)
        assert 120 <= words <= 450
        assert 8 <= len(call.transcript.turns) <= 30


def test_no_two_calls_are_alike() -> None:
    calls = many_calls()
    assert len({tuple(words_of(call)) for call in calls}) == len(calls)
    bigrams = [set(pairwise(words_of(call))) for call in calls[:200]]
    rng = Random(0)
    overlaps = [
        len(one & other) / min(len(one), len(other))
        for one, other in (rng.sample(bigrams, 2) for _ in range(1000))
    ]
    assert sum(overlaps) / len(overlaps) < 0.15


def test_nothing_of_the_template_language_is_left_over() -> None:
    for call in many_calls():
        for turn in call.transcript.turns:
            assert not re.search(r"[\[\]{}|~]|\b[AC]: | / ", turn.text), turn.text
            assert turn.text.strip()


def test_every_form_of_every_bank_can_be_said() -> None:
    values = draw_plan(Random(0)).values
    banks = list(phrase_banks().values())
    banks += [
        bank for trade in industries() for issue in trade.issues for bank in issue.banks.values()
    ]
    for bank in banks:
        for form in bank:
            said = Voice(Random(1), values, upset=True).say((form,))
            assert not re.search(r"[\[\]{}|]", "".join(text for _, text in said)), form


def test_calm_callers_never_use_the_forms_of_upset_ones() -> None:
    bank = ("C: fine", "~C: awful")
    calm = {Voice(Random(seed), {}, upset=False).say(bank)[0][1] for seed in range(30)}
    upset = {Voice(Random(seed), {}, upset=True).say(bank)[0][1] for seed in range(30)}
    assert calm == {"fine"}
    assert upset == {"fine", "awful"}


def test_a_form_is_not_repeated_while_others_are_left() -> None:
    voice = Voice(Random(0), {}, upset=True)
    assert {voice.say(("C: a", "C: b", "C: c"))[0][1] for _ in range(3)} == {"a", "b", "c"}


def test_choices_may_be_nested_and_empty() -> None:
    voice = Voice(Random(0), {"who": "Ann"}, upset=True)
    said = {voice.say(("A: [hi[ there|] {who}|hello]",))[0] for _ in range(40)}
    assert said == {("agent", "hi there Ann"), ("agent", "hi Ann"), ("agent", "hello")}


def test_turns_are_split_by_speaker() -> None:
    assert split_turns("A: one / C: two / A:  ") == [("agent", "one"), ("customer", "two")]
    assert split_turns("unmarked") == [("customer", "unmarked")]
    assert split_turns("A: so many , . Yes") == [("agent", "so many. Yes")]


def test_banks_are_rich_enough() -> None:
    assert len(industries()) >= 10
    assert len(value_lists()["firsts"]) >= 30
    for bank in ("greeting", "greeting_missing", "empathy", "rude"):
        assert len(phrase_banks()[bank]) >= 15, bank
