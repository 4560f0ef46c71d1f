"""Imports as a whole: folders, labels, names, the redactor's place, and mistakes."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from descant.data import ImportSteps, ReadOptions, open_import, read_jsonl, read_labels, write_jsonl
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import (
    DuplicateId,
    InvalidConfig,
    InvalidData,
    InvalidTranscript,
    WrongFormat,
)
from tests.data.rows import yes_no


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def vtt(*texts: str, speaker: str = "Agent") -> str:
    cues = [
        f"00:0{at}.000 --> 00:0{at}.900\n<v {speaker}>{text}\n" for at, text in enumerate(texts)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def read(source: Path, name: str | None = None, **steps: Any) -> list[LabelledTranscript]:
    return list(open_import(source, name, ImportSteps(**steps)).rows())


def test_a_folder_is_read_by_name_and_counted(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    write(calls / "b.vtt", vtt("Hello", "you"))
    write(calls / "2026" / "a.1.VTT.gz", gzip.compress(vtt("Hi", speaker="Caller").encode()))
    write(calls / "silent.vtt", vtt(" "))
    write(calls / "notes.txt", "x")
    write(calls / ".b.vtt.swp", "x")
    path = write(calls / "labels.csv", "id,polite\nb,yes\nunheard,no\n")
    opened = open_import(calls, steps=ImportSteps(labels=read_labels(path)))
    done: list[tuple[int, int]] = []
    rows = list(opened.rows(lambda *counts: done.append(counts)))
    assert [(row.transcript.id, row.transcript.turns, row.labels) for row in rows] == [
        ("2026/a.1", (Turn("Caller", "Hi"),), {}),
        ("b", (Turn("Agent", "Hello you"),), {"polite": "yes"}),
    ]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert opened.summary.to_json() == {
        "format": "webvtt",
        "files": 3,
        "other_files": 1,
        "conversations": 2,
        "turns": 2,
        "speakers": {"Caller": 1, "Agent": 1},
        "labels": {"polite": {"yes": 1, "": 1}},
        "left_out": {"silent": "nothing was said"},
        "labels_unused": 1,
    }


def test_the_redactor_sees_everything_last(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vtt", vtt("I am Ann"))
    seen: list[Transcript] = []

    def mask(transcript: Transcript) -> Transcript:
        seen.append(transcript)
        return replace(transcript, turns=(Turn("someone", "[masked]"),))

    opened = open_import(path, steps=ImportSteps(speakers={"Agent": "agent"}, redact=mask))
    (row,) = opened.rows()
    assert seen == [Transcript("a", (Turn("agent", "I am Ann"),))]
    assert row.transcript.turns == (Turn("someone", "[masked]"),)
    assert list(opened.summary.turns_of) == ["someone"]


def test_our_own_files_can_be_given_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": "1", "turns": [{"speaker": "a", "text": "Hi"}]}')
    labels = read_labels(write(tmp_path / "labels.csv", "id,polite\n1,yes\n"))
    (row,) = read(path, labels=labels)
    assert row.labels == {"polite": "yes"}


def test_star_is_read_with_both_parts(tmp_path: Path) -> None:
    event = {"Agent": "User", "Action": "utter", "Text": "Hi"}
    for at, part in enumerate(("train", "dev")):
        table = {"DialogueID": at, "CompletionLevel": "Complete", "Events": [event]}
        labels = {"DialogueID": at, "labels": {"polite": at}}
        for name, value in ((part, table), (f"labels_{part}", labels)):
            write(tmp_path / f"{name}.jsonl.gz", gzip.compress(json.dumps(value).encode()))
    assert [row.labels["polite"] for row in read(tmp_path)] == ["yes", "no"]
    assert [row.transcript.id for row in read(tmp_path / "train.jsonl.gz", "star")] == ["star-0"]


@pytest.mark.parametrize(
    ("said", "name", "content", "likely"),
    [
        ("webvtt", "a.srt", "1\n00:00:00,000 --> 00:00:01,000\nHi\n", "srt"),
        ("srt", "a.vtt", vtt("Hi"), "webvtt"),
        ("csv", "a.json", '{"results": {"channels": []}}', "deepgram"),
        ("deepgram", "a.json", '{"results": {"transcripts": []}}', "transcribe"),
        ("transcribe", "a.json", '{"Transcript": []}', "contact-lens"),
        ("contact-lens", "a.json", '[{"role": "user"}]', "openai-chat"),
        ("openai-chat", "a.jsonl", '{"id": "1", "turns": []}', "descant"),
        ("descant", "a.jsonl", '{"messages": []}', "openai-chat"),
        ("taskmaster", "a.csv", "id,text\n1,Agent: Hi\n", "csv"),
        ("multidogo", "a.csv", "id,text\n1,Agent: Hi\n", "csv"),
        ("parquet", "a.csv", "id,text\n1,Agent: Hi\n", "csv"),
        ("star", "a.vtt", vtt("Hi"), "webvtt"),
    ],
)
def test_a_file_of_another_format_than_said_is_told_what_it_looks_like(
    tmp_path: Path, said: str, name: str, content: str, likely: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(
        WrongFormat, match=f"looks like {likely}, not {said}: try --format {likely}"
    ):
        read(path, said)


def test_what_looks_like_nothing_keeps_its_own_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", '{"cut": ')
    with pytest.raises(InvalidData, match=r"a\.txt: not JSON.*cut off") as caught:
        read(path, "deepgram")
    assert type(caught.value) is InvalidData


def test_mistakes_of_the_whole_are_refused(tmp_path: Path) -> None:
    silent = write(tmp_path / "a.vtt", vtt(" "))
    with pytest.raises(InvalidData, match=r"a\.vtt: no conversation came in: nothing was said"):
        read(silent)
    with pytest.raises(InvalidData, match=r"a\.jsonl: no conversation came in: nothing is in it"):
        read(write(tmp_path / "a.jsonl", "\n"), "openai-chat")
    with pytest.raises(InvalidConfig, match="no format 'vtt'.*csv, parquet.*webvtt"):
        read(silent, "vtt")
    with pytest.raises(InvalidData, match=r"has no file that fits \*\.srt"):
        read(tmp_path, "srt")
    spoken = write(tmp_path / "a.vtt", vtt("Hi"))
    with pytest.raises(InvalidConfig, match="Nobody called 'agent'.*Did you mean 'Agent'"):
        read(spoken, speakers={"agent": "x"})
    labels = write(tmp_path / "labels.csv", "id,polite\na.vtt,yes\n")
    with pytest.raises(InvalidData, match=r"labels\.csv, column 'id': none of .*such as 'a'"):
        read(spoken, labels=read_labels(labels))


def test_the_same_id_in_two_files_is_refused_with_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.csv", "id,text\n1,Agent: Hi\n")
    with pytest.raises(DuplicateId, match=r"b\.csv: id '1' was used in .*a\.csv"):
        read(tmp_path)


def test_labels_of_data_sets_are_checked_too(tmp_path: Path) -> None:
    line = {"id": "1", "turns": [{"speaker": "a", "text": "Hi"}], "labels": {"polite": "yess"}}
    path = write(tmp_path / "a.jsonl", json.dumps(line))
    options = ReadOptions(indicators=(yes_no("polite"),))
    with pytest.raises(InvalidData, match="'1': 'yess' is not .*Did you mean 'yes'"):
        read(path, options=options)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (vtt("Hi") + "\nlost words\n", InvalidData),
        ("WEBVTT\n\n00:01.000 --> 00:00.000\nHi\n", InvalidData),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\n\xfc\n", InvalidData),
        ("no captions", WrongFormat),
    ],
)
def test_a_mistake_in_the_last_file_leaves_nothing_half_written(
    tmp_path: Path, bad: str | bytes, error: type[InvalidData]
) -> None:
    write(tmp_path / "calls" / "a.vtt", vtt("Hi"))
    write(tmp_path / "calls" / "b.vtt", bad)
    output = tmp_path / "out.jsonl"
    for before in ("", '{"id": "1", "turns": [{"speaker": "a", "text": "old"}]}\n'):
        if before:
            output.write_text(before)
        with pytest.raises((error, InvalidTranscript), match=r"b\.vtt"):
            write_jsonl(output, open_import(tmp_path / "calls", "webvtt").rows())
        assert output.read_text() == before if before else not output.exists()
    assert [row.transcript.id for row in read_jsonl(output)] == ["1"]
    assert {path.name for path in tmp_path.iterdir()} == {"calls", "out.jsonl"}
