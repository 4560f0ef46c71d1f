"""What is known about a conversation beside its words: kept, never shown, redacted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.data import Redactor, data_hash, read_jsonl, redact_rows, write_jsonl
from descant.schema import LabelledTranscript, Transcript, Turn, to_transcript
from descant.schema.errors import InvalidData

TURNS = (Turn("agent", "Hello"),)
ROW = LabelledTranscript(Transcript("1", TURNS), fields={"agent": "17", "language": "de"})


def test_fields_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    write_jsonl(path, [ROW, LabelledTranscript(Transcript("2", TURNS))])
    assert [row.fields for row in read_jsonl(path)] == [{"agent": "17", "language": "de"}, {}]
    assert '"fields"' not in path.read_text().splitlines()[1]


def test_fields_are_no_part_of_what_is_learned() -> None:
    plain = LabelledTranscript(ROW.transcript)
    assert data_hash([ROW]) == data_hash([plain])
    table = {"id": "1", "turns": [{"speaker": "agent", "text": "Hello"}], "fields": {"agent": "17"}}
    assert to_transcript(table) == ROW.transcript


@pytest.mark.parametrize("fields", [["17"], {"agent": 17}, {"agent": "\ud800"}])
def test_a_field_that_is_no_text_is_named(fields: object, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    table = {"id": "1", "turns": [{"speaker": "agent", "text": "Hello"}], "fields": fields}
    path.write_text(json.dumps(table) + "\n")
    with pytest.raises(InvalidData, match="line 1: field"):
        list(read_jsonl(path))


def test_what_is_personal_is_taken_out_of_fields() -> None:
    row = LabelledTranscript(ROW.transcript, fields={"from": "anna@example.org", "language": "de"})
    ((clean,), _) = redact_rows([row], Redactor())
    assert clean.fields == {"from": "[MAIL_1]", "language": "de"}
