from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from descant.data import FORMATS
from descant.data.importers.signature import format_of, guess_format
from descant.schema.errors import InvalidConfig, InvalidData, WrongFormat

CONTENTS = {
    "csv": ("a.csv", "id,text\n"),
    "parquet": ("a.parquet", "PAR1"),
    "openai-chat": ("a.json", '[{"role": "user", "content": "x"}]'),
    "webvtt": ("a.vtt", "\ufeffWEBVTT\n"),
    "srt": ("a.srt", "\ufeff1\r\n00:00:00,000 --> 00:00:01,000\r\n"),
    "deepgram": ("a.json", '{"metadata": {}, "results": {"channels": []}}'),
    "transcribe": ("a.json", '{"jobName": "j", "results": {"transcripts": []}}'),
    "contact-lens": ("a.json", '{"Channel": "VOICE", "Transcript": []}'),
    "descant": ("a.jsonl", '{"id": "1", "turns": []}\n'),
    "multidogo": ("a.tsv", "conversationId\tturnNumber\tutterance\n"),
    "taskmaster": ("data_00.json", '[{"conversation_id": "d", "utterances": []}]'),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_and_folders_are_known_by_their_content(
    tmp_path: Path, name: str, ending: str
) -> None:
    file_name, content = CONTENTS[name]
    path = tmp_path / f"{file_name}{ending}"
    path.write_bytes(gzip.compress(content.encode()) if ending else content.encode())
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".hidden.json").write_text("{}")
    assert guess_format(path) == guess_format(tmp_path) == name


def test_there_is_an_example_of_every_format_above(tmp_path: Path) -> None:
    assert set(FORMATS) == {*CONTENTS, "star"}
    (tmp_path / "labels_train.jsonl.gz").write_bytes(b"")
    assert guess_format(tmp_path) == "star"


@pytest.mark.parametrize(
    "line", ['{"messages": []}', '[{"role": "user"}]', '{"messages": []}\n{"messages": []}']
)
def test_json_lines_of_chats(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"\n{line}\n")
    assert guess_format(path) == "openai-chat"


def test_files_of_several_formats_are_refused_with_all_formats(tmp_path: Path) -> None:
    for name in ("webvtt", "csv"):
        (tmp_path / CONTENTS[name][0]).write_text(CONTENTS[name][1])
    with pytest.raises(InvalidConfig, match=r"a\.csv: csv, a\.vtt: webvtt.*--format: csv, parquet"):
        guess_format(tmp_path)
    assert guess_format(tmp_path, beside=[tmp_path / "a.csv"]) == "webvtt"


@pytest.mark.parametrize("content", ["", "hello", "{}", "[]", "7", json.dumps({"text": "x"})])
def test_what_cannot_be_told_is_refused_with_all_formats(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InvalidConfig, match=r"a\.json: unknown.*taskmaster"):
        guess_format(path)


def test_an_empty_folder_a_missing_one_and_a_workbook_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no file with a known ending"):
        guess_format(tmp_path)
    with pytest.raises(InvalidData, match="there is no such file or folder"):
        guess_format(tmp_path / "none")
    path = tmp_path / "a.csv"
    path.write_bytes(b"PK\x03\x04\x14\x00")
    with pytest.raises(WrongFormat, match="Excel.*CSV UTF-8"):
        format_of(path)
