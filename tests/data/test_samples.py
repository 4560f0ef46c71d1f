from __future__ import annotations

import re
from collections import Counter

from descant.data.leakage import check_leakage
from descant.data.samples import generate_calls, hand_written_calls, sample_indicators
from descant.data.transcripts import validate_labels
from descant.schema import LabelledTranscript

NAMES = {
    "greeting", "identity_verified_before_disclosure", "hold_asked_for", "empathy_shown",
    "refund_offered", "problem_solved", "escalation", "politeness", "upsell", "script_closed",
    "caller_upset", "callback_promised",
}  # fmt: skip


def grams(call: LabelledTranscript, size: int) -> set[tuple[str, ...]]:
    text = " ".join(turn.text for turn in call.transcript.turns).lower()
    words = re.findall(r"[a-z0-9']+", text)
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def test_the_twelve_indicators() -> None:
    indicators = sample_indicators()
    assert {indicator.name for indicator in indicators} == NAMES
    assert len(indicators) == 12
    assert {indicator.kind for indicator in indicators} == {"binary", "multiclass", "ordinal"}
    assert all(indicator.section for indicator in indicators)
    assert [each.name for each in indicators if each.critical] == [
        "identity_verified_before_disclosure"
    ]


def test_labels_of_an_indicator_begin_with_different_letters_or_words() -> None:
    for indicator in sample_indicators():
        first = [label.split()[0] for label in indicator.labels]
        assert len(set(first)) == len(first)


def test_there_are_enough_hand_written_calls() -> None:
    calls = hand_written_calls()
    assert len(calls) >= 44
    assert len({call.transcript.id for call in calls}) == len(calls)


def test_hand_written_labels_are_valid_and_complete() -> None:
    calls = hand_written_calls()
    validate_labels(calls, sample_indicators())
    assert all(set(call.labels) == NAMES for call in calls)
    check_leakage(calls, sample_indicators())


def test_hand_written_labels_are_spread() -> None:
    calls = hand_written_calls()
    for indicator in sample_indicators():
        labels = [call.labels[indicator.name] for call in calls]
        known = [label for label in labels if label is not None]
        positive = sum(label in indicator.positive for label in known)
        assert positive >= 12, indicator.name
        assert len(known) - positive >= 12, indicator.name


def test_most_hand_written_calls_are_long() -> None:
    sizes = [
        sum(len(turn.text.split()) for turn in call.transcript.turns)
        for call in hand_written_calls()
    ]
    assert sum(size >= 180 for size in sizes) >= 0.85 * len(sizes)
    assert max(sizes) <= 700


def test_hand_written_calls_share_no_phrase_with_the_grammar() -> None:
    generated: Counter[tuple[str, ...]] = Counter()
    for call in generate_calls(800, seed=11):
        generated.update(grams(call, 8))
    for call in hand_written_calls():
        shared = grams(call, 8) & generated.keys()
        assert not shared, (call.transcript.id, shared)
