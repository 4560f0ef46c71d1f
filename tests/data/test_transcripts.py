from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.data import clean_text, read_jsonl, validate_labels, write_jsonl
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import (
    DescantError,
    DuplicateId,
    InvalidData,
    InvalidTranscript,
    StorageFull,
)
from tests.data.rows import call, many_rows, yes_no

TURN = {"speaker": "agent", "text": "Hello"}


def write_lines(path: Path, *tables: Any) -> Path:
    path.write_text("".join(json.dumps(table) + "\n" for table in tables))
    return path


@settings(deadline=None, max_examples=50)
@given(rows=many_rows, suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_what_is_written_is_what_is_read(rows: list[LabelledTranscript], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"calls{suffix}"
        write_jsonl(path, rows)
        assert list(read_jsonl(path)) == rows


@given(st.text())
def test_clean_text_is_idempotent_and_keeps_only_line_ends_and_tabs(text: str) -> None:
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert not {char for char in cleaned if ord(char) < 32 or 127 <= ord(char) < 160} - {"\n", "\t"}


def test_control_characters_are_dropped_and_line_ends_unified(tmp_path: Path) -> None:
    turn = {"speaker": "a\x1bgent\n2", "text": "one\r\ntwo\x00\x1b[31m\tüñ 🙂‍\x85three"}
    (row,) = read_jsonl(write_lines(tmp_path / "a.jsonl", {"id": "1", "turns": [turn]}))
    assert row.transcript.turns == (Turn("agent 2", "one\ntwo[31m\tüñ 🙂‍\nthree"),)


def test_labels_may_be_missing_or_null(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"id": "1", "turns": [TURN]},
        {"id": "2", "turns": [TURN], "labels": {"x": None, "y": "no"}},
    )
    assert [dict(row.labels) for row in read_jsonl(path)] == [{}, {"x": None, "y": "no"}]


@pytest.mark.parametrize(
    ("table", "error", "field"),
    [
        ({"turns": [TURN]}, InvalidTranscript, "id"),
        ({"id": 7, "turns": [TURN]}, InvalidTranscript, "id"),
        ({"id": "", "turns": [TURN]}, InvalidTranscript, "id"),
        ({"id": "a\nb", "turns": [TURN]}, InvalidTranscript, "id"),
        ({"id": "1"}, InvalidTranscript, "turns"),
        ({"id": "1", "turns": "Hello"}, InvalidTranscript, "turns"),
        ({"id": "1", "turns": []}, InvalidTranscript, "turns"),
        ({"id": "1", "turns": [{**TURN, "text": " \x00 "}]}, InvalidTranscript, "turns"),
        ({"id": "1", "turns": ["Hello"]}, InvalidTranscript, "turns[0]"),
        ({"id": "1", "turns": [TURN, {"speaker": "x"}]}, InvalidTranscript, "text"),
        ({"id": "1", "turns": [{**TURN, "text": None}]}, InvalidTranscript, "text"),
        ({"id": "1", "turns": [{**TURN, "text": "\ud83d"}]}, InvalidTranscript, "text"),
        ({"id": "1", "turns": [{**TURN, "role": "x"}]}, InvalidTranscript, "role"),
        ({"id": "1", "turns": [TURN], "label": {}}, InvalidTranscript, "label"),
        ({"id": "1", "turns": [TURN], "labels": ["x"]}, InvalidData, "labels"),
        ({"id": "1", "turns": [TURN], "labels": {"x": True}}, InvalidData, "labels.x"),
        ({"id": "1", "turns": [TURN], "labels": {"x": "\ud83d"}}, InvalidData, "labels.x"),
        ({"id": "0", "turns": [TURN]}, DuplicateId, "id"),
    ],
)
def test_bad_conversation_is_refused_with_file_line_and_field(
    tmp_path: Path, table: dict[str, Any], error: type[DescantError], field: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"id": "0", "turns": [TURN]}, table)
    with pytest.raises(error) as caught:
        list(read_jsonl(path))
    assert "a.jsonl, line 2" in str(caught.value)
    assert caught.value.field == field


def test_rows_before_a_bad_line_are_read(tmp_path: Path) -> None:
    rows = read_jsonl(write_lines(tmp_path / "a.jsonl", {"id": "0", "turns": [TURN]}, {"id": "1"}))
    assert next(rows).transcript.id == "0"
    with pytest.raises(InvalidTranscript):
        next(rows)


def test_all_bad_lines_of_a_file_are_named(tmp_path: Path) -> None:
    good = {"id": "0", "turns": [TURN]}
    path = write_lines(tmp_path / "a.jsonl", good, {"id": "1"}, {"id": "2", "turns": [TURN]}, good)
    with path.open("a") as file:
        file.write("{\n")
    with pytest.raises(InvalidTranscript) as caught:
        list(read_jsonl(path))
    said = str(caught.value).splitlines()
    assert said[0] == "3 mistakes."
    assert [line.partition(": ")[0][-6:] for line in said[1:]] == ["line 2", "line 4", "line 5"]


def test_writing_the_same_id_twice_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DuplicateId, match="line 2"):
        write_jsonl(tmp_path / "a.jsonl", [call("1"), call("1")])
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [call("old")])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match=r"a\.jsonl was not written"):
        write_jsonl(path, [call("new")])
    assert [row.transcript.id for row in read_jsonl(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_label_outside_the_set_is_refused_by_conversation_indicator_and_labels() -> None:
    rows = [call("1", labels={"greeting": "yes"}), call("2", labels={"greeting": "Yes"})]
    with pytest.raises(InvalidData, match="'2': 'Yes' is not a label of 'greeting'.*'no', 'yes'"):
        validate_labels(rows, [yes_no("greeting")])


def test_all_misspelt_labels_are_named_with_what_was_probably_meant() -> None:
    rows = [call(str(at), labels={"greeting": label}) for at, label in enumerate(["ye", "No", "x"])]
    with pytest.raises(InvalidData) as caught:
        validate_labels(rows, [yes_no("greeting")])
    said = str(caught.value).splitlines()
    assert said[0] == "3 mistakes."
    assert "'0': 'ye' is not a label" in said[1]
    assert "Did you mean 'yes'?" in said[1]
    assert "Did you mean 'no'?" in said[2]
    assert "Did you mean" not in said[3]


def test_null_labels_and_labels_of_other_indicators_pass() -> None:
    validate_labels([call("1", labels={"greeting": None, "else": "?"})], [yes_no("greeting")])
