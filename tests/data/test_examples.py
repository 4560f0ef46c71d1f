from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data import build_examples, data_hash
from descant.schema import LabelledTranscript, Transcript
from descant.schema.errors import ContextTooLong, InvalidData
from tests.data.rows import call, many_rows, yes_no

INDICATORS = [yes_no("greeting"), yes_no("refund_offered")]


class CharacterRenderer:
    def render_transcript(self, transcript: Transcript) -> list[int]:
        return [ord(char) for turn in transcript.turns for char in turn.text]


def test_targets_are_label_indices_and_rows_without_a_label_are_left_out() -> None:
    rows = [
        call("1", "ab", labels={"greeting": "yes", "refund_offered": None, "else": "x"}),
        call("2", labels={"greeting": None}),
        call("3", "c", labels={"refund_offered": "no", "greeting": "no"}),
        call("4"),
    ]
    examples = build_examples(rows, INDICATORS, CharacterRenderer(), 10)
    assert [(example.transcript_id, dict(example.targets)) for example in examples] == [
        ("1", {"greeting": 1}),
        ("3", {"greeting": 0, "refund_offered": 0}),
    ]
    assert examples[0].prefix_ids == (97, 98)


def test_a_conversation_of_just_the_limit_is_whole_and_a_longer_one_refused() -> None:
    labels: dict[str, str | None] = {"greeting": "yes"}
    rows = [call("fits", "a" * 8, labels=labels)]
    assert len(build_examples(rows, INDICATORS, CharacterRenderer(), 8)[0].prefix_ids) == 8
    rows.append(call("long", "a" * 9, labels=labels))
    with pytest.raises(ContextTooLong, match="'long' has 9 tokens; at most 8"):
        build_examples(rows, INDICATORS, CharacterRenderer(), 8)


def test_all_conversations_that_are_too_long_are_named() -> None:
    rows = [call(name, "a" * 9, labels={"greeting": "yes"}) for name in ("one", "two")]
    with pytest.raises(ContextTooLong, match=r"(?s)2 mistakes.*'one' has 9.*'two' has 9"):
        build_examples(rows, INDICATORS, CharacterRenderer(), 8)


def test_a_long_conversation_without_labels_is_no_error() -> None:
    assert build_examples([call("long", "a" * 9)], INDICATORS, CharacterRenderer(), 8) == []


def test_a_label_outside_the_set_is_refused() -> None:
    with pytest.raises(InvalidData, match="'maybe'"):
        build_examples(
            [call("1", labels={"greeting": "maybe"})], INDICATORS, CharacterRenderer(), 8
        )


@given(rows=many_rows, seed=st.integers(0, 2**32))
def test_data_hash_ignores_order_and_null_labels(rows: list[LabelledTranscript], seed: int) -> None:
    shuffled = [replace(row, labels={**row.labels, "null": None}) for row in rows]
    random.Random(seed).shuffle(shuffled)
    assert data_hash(shuffled) == data_hash(rows)


def test_data_hash_changes_with_every_part_of_the_content() -> None:
    labels: dict[str, str | None] = {"a": "yes"}
    versions = [
        [call("1", "x", "y", labels=labels)],
        [call("2", "x", "y", labels=labels)],
        [call("1", "x", "z", labels=labels)],
        [call("1", "xy", labels=labels)],
        [call("1", "x", "y", labels={"a": "no"})],
        [call("1", "x", "y", labels={"b": "yes"})],
        [call("1", "x", "y")],
        [call("1", "x", "y", labels=labels)] * 2,
        [],
    ]
    assert len({data_hash(rows) for rows in versions}) == len(versions)


def test_data_hash_never_changes_between_versions() -> None:
    assert data_hash([call("1", "é", labels={"a": "yes"})]) == (
        "sha256:4a04cdf562f2083f1b2fee981564a172ba2a90e53db77dc75d97a75d3091cfc8"
    )
