from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data import build_examples, data_hash, read_jsonl, validate_labels, write_jsonl
from descant.schema import LabelledTranscript, to_transcript
from descant.schema.errors import InvalidData
from tests.data.rows import call, yes_no
from tests.data.test_examples import CharacterRenderer
from tests.data.test_transcripts import TURN, write_lines

LABELS = {"greeting": "yes", "upsell": None}


def soft(call_id: str, shares: dict[str, float], weight: float = 1.0) -> LabelledTranscript:
    transcript = call(call_id).transcript
    return LabelledTranscript(
        transcript, {"greeting": "yes"}, {"greeting": shares}, {"greeting": weight}
    )


def test_a_file_without_them_is_written_as_before(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [call("1", "Hi", labels={"greeting": "yes"})])
    assert json.loads((tmp_path / "a.jsonl").read_text()).keys() == {"id", "turns", "labels"}


def test_whole_numbers_are_probabilities_and_weights_too(tmp_path: Path) -> None:
    row = {"id": "1", "turns": [TURN], "labels": LABELS}
    beside = {"probabilities": {"greeting": {"yes": 1}}, "weights": {"greeting": 2}}
    [read] = read_jsonl(write_lines(tmp_path / "a.jsonl", {**row, **beside}))
    assert read.probabilities == {"greeting": {"yes": 1.0}}
    assert read.weights == {"greeting": 2.0}


@pytest.mark.parametrize(
    ("beside", "field", "reason"),
    [
        ({"probabilities": []}, "probabilities", "must be an object"),
        ({"probabilities": {"greeting": 0.5}}, "probabilities.greeting", "a number for each label"),
        ({"probabilities": {"greeting": {}}}, "probabilities.greeting", "a number for each label"),
        (
            {"probabilities": {"greeting": {"yes": 0.5, "no": 0.4}}},
            "probabilities.greeting",
            "sum to 0.9, not to 1",
        ),
        (
            {"probabilities": {"greeting": {"yes": 1.5, "no": -0.5}}},
            "probabilities.greeting",
            "'yes' of 'greeting' must be a number from 0 to 1, not 1.5",
        ),
        (
            {"probabilities": {"greeting": {"yes": True}}},
            "probabilities.greeting",
            "from 0 to 1, not True",
        ),
        (
            {"probabilities": {"greeting": {"yes": float("nan")}}},
            "probabilities.greeting",
            "from 0 to 1, not nan",
        ),
        ({"probabilities": {"upsell": {"yes": 1}}}, "probabilities.upsell", "beside no label"),
        ({"probabilities": {"other": {"yes": 1}}}, "probabilities.other", "beside no label"),
        ({"weights": 1}, "weights", "must be an object"),
        ({"weights": {"greeting": 0}}, "weights.greeting", "above 0, not 0"),
        ({"weights": {"greeting": "1"}}, "weights.greeting", "above 0, not '1'"),
        ({"weights": {"greeting": float("inf")}}, "weights.greeting", "above 0, not inf"),
        ({"weights": {"upsell": 1}}, "weights.upsell", "beside no label"),
    ],
)
def test_what_is_no_soft_label_is_refused_with_file_line_and_field(
    tmp_path: Path, beside: dict[str, Any], field: str, reason: str
) -> None:
    row = {"id": "1", "turns": [TURN], "labels": LABELS}
    path = write_lines(tmp_path / "a.jsonl", {**row, "id": "0"}, {**row, **beside})
    with pytest.raises(InvalidData, match=reason) as caught:
        list(read_jsonl(path))
    assert "a.jsonl, line 2" in str(caught.value)
    assert caught.value.field == field


def test_a_soft_label_outside_the_set_is_refused() -> None:
    with pytest.raises(InvalidData, match="'maybe' is not a label of 'greeting'"):
        validate_labels([soft("1", {"yes": 0.9, "maybe": 0.1})], [yes_no("greeting")])


def test_examples_have_a_share_for_every_label_in_its_place() -> None:
    indicators = [yes_no("greeting"), yes_no("upsell")]
    rows = [soft("1", {"yes": 0.75, "no": 0.25}, 0.6), soft("2", {"yes": 0.9995})]
    [first, second] = build_examples(rows, indicators, CharacterRenderer(), 10)
    assert first.probabilities == {"greeting": (0.25, 0.75)}
    assert first.weights == {"greeting": 0.6}
    # What rounding left out of the sum is shared out.
    assert second.probabilities == {"greeting": (0.0, 1.0)}


def test_the_data_hash_changes_with_them() -> None:
    versions = [
        call("1", labels={"greeting": "yes"}),
        soft("1", {"yes": 1.0}),
        soft("1", {"yes": 0.9, "no": 0.1}),
        soft("1", {"yes": 1.0}, 0.5),
    ]
    assert len({data_hash([row]) for row in versions}) == len(versions)


def test_a_labelled_row_is_still_a_conversation() -> None:
    row = {"id": "1", "turns": [TURN], "labels": {}, "probabilities": {}, "weights": {}}
    assert to_transcript(row).id == "1"
