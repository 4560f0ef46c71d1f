from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.data import FORMATS, read_jsonl
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_indicators

SRT = "1\n00:00:00,000 --> 00:00:01,000\nAgent: Good morning\n\n2\n00:00:01,000 --> 00:00:02,000\nCaller: Hi\n"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.srt").write_text(SRT)
    return folder


def test_a_folder_comes_in_with_labels_and_a_table(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_indicators(tmp_path / "indicators")
    (tmp_path / "labels.csv").write_text("id,polite\na,yes\nb,no\n")
    output = tmp_path / "new" / "calls.jsonl"
    arguments = ["import", str(calls), "--output", str(output), "--rename", "Caller=customer"]
    more = ["--labels", str(tmp_path / "labels.csv"), "--indicators", str(tmp_path / "indicators")]
    assert run(*arguments, *more) == 0
    out, err = capsys.readouterr()
    assert "Reading" in err
    assert "Importing: 2/2 files" in err
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["conversations", "2", "files 2"] in table
    assert ["turns", "4", "Agent 2, customer 2"] in table
    assert ["labels: polite", "2", "yes 1, no 1"] in table
    rows = list(read_jsonl(output))
    assert [(row.transcript.id, row.labels) for row in rows] == [
        ("a", {"polite": "yes"}),
        ("b", {"polite": "no"}),
    ]


def test_redaction_comes_before_anything_is_written(calls: Path, tmp_path: Path) -> None:
    text = (calls / "a.srt").read_text().replace("Hi", "My card is 4111 1111 1111 1111")
    (calls / "a.srt").write_text(text)
    plain, clean = tmp_path / "plain.jsonl", tmp_path / "clean.jsonl"
    assert run("import", str(calls), "--output", str(plain)) == 0
    assert run("import", str(calls), "--output", str(clean), "--redact") == 0
    assert "4111 1111" in plain.read_text()
    assert "4111" not in clean.read_text()
    assert "[CARD_1]" in clean.read_text()


def test_a_summary_for_programs(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "calls.jsonl.gz"
    assert run("import", str(calls), "--output", str(output), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["format"], result["conversations"]) == ("srt", 2)
    assert result["output"] == str(output)
    assert len(list(read_jsonl(output))) == 2


def test_columns_of_a_table_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("call;who;words;mood\n1;agent;Hi;good\n1;caller;Ho;good\n")
    columns = ["--id-column", "call", "--text-column", "words", "--speaker-column", "who"]
    output = tmp_path / "a.jsonl"
    arguments = [str(path), *columns, "--label-column", "mood", "--output", str(output)]
    assert run("import", *arguments) == 0
    (row,) = read_jsonl(output)
    assert (len(row.transcript.turns), row.labels) == (2, {"mood": "good"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format", "vtt"], "There is no format 'vtt'"),
        (["--format", "webvtt"], "has no file that fits *.vtt"),
        (["--rename", "Caller"], "'Caller' is not OLD=NEW"),
        (["--rename", "Agnet=agent"], "Did you mean 'Agent'?"),
        (["--labels", "none.csv"], "none.csv: cannot be read"),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(
    calls: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    output = tmp_path / "out" / "calls.jsonl"
    assert run("import", str(calls), "--output", str(output), *arguments) == 2
    assert reason in capsys.readouterr().err.replace("\n", " ")
    assert not output.exists()


def test_what_is_read_is_not_written_over(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = calls / "a.srt"
    assert run("import", str(path), "--output", str(path)) == 2
    assert path.read_text() == SRT
    assert "is what would be read" in capsys.readouterr().err


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"One of {', '.join(FORMATS)}." in shown
