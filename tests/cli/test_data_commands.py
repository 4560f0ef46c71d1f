"""``descant redact`` and ``descant data check`` on files as someone would have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.data import read_jsonl, write_jsonl
from tests.cli.test_app import run
from tests.data.rows import call

CALLS = [
    call("1", "Card number?", "4111 1111 1111 1111", labels={"paid": "yes"}),
    call("2", "Card number?", "4111 1111 1111 1111", labels={"paid": "no"}),
    call("+14155552671", "Hello, this is Mo.", "Hi Mo.", labels={"paid": None}),
]
PAID = 'name = "paid"\nquestion = "Was it paid?"\nlabels = ["no", "yes"]\n'


@pytest.fixture
def calls(tmp_path: Path) -> str:
    write_jsonl(tmp_path / "calls.jsonl", CALLS)
    return str(tmp_path / "calls.jsonl")


def test_redacting_writes_a_file_and_says_how_much(
    calls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.jsonl"
    assert run("redact", calls, "--output", str(clean), "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["counts"] == {"card": 2, "name": 1}
    assert (report["conversations"], report["changed"], report["personal_ids"]) == (3, 3, 1)
    assert "3/3 conversations" in err
    rows = list(read_jsonl(clean))
    assert [row.transcript.turns[1].text for row in rows] == [
        "[CARD_1]",
        "[CARD_1]",
        "Hi [NAME_1].",
    ]
    assert [row.labels for row in rows] == [row.labels for row in CALLS]
    assert "4111" not in clean.read_text()


def test_redacting_for_people(
    calls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.jsonl"
    assert run("redact", calls, "--output", str(clean), "--kind", "name") == 0
    out = capsys.readouterr().out
    assert "1 of 3 conversations changed" in out
    assert "1 ids look like" not in out
    assert run("redact", calls, "--output", str(clean), "--kind", "phone") == 0
    assert "1 ids look like personal values" in capsys.readouterr().out


def test_an_unknown_kind_is_refused_and_nothing_written(
    calls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.jsonl"
    assert run("redact", calls, "--output", str(clean), "--kind", "cards") == 2
    assert "Known kinds: card" in capsys.readouterr().err
    assert not clean.exists()


def test_checking_shows_balance_copies_and_contradictions(
    calls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "paid.toml").write_text(PAID)
    assert run("data", "check", calls, "--against", calls, "--indicators", str(tmp_path)) == 0
    out = " ".join(capsys.readouterr().out.split())
    for line in ("3 conversations of", "3 ids in both files", "no 1, yes 1", "yes: 1; no: 2"):
        assert line in out
    assert "Near-duplicates: 3 conversations in 2 groups" in out
    assert "Words that give a label away: none" in out


def test_checking_is_json_for_programs(calls: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "check", calls, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["balance"] == [
        {"indicator": "paid", "counts": {"no": 1, "yes": 1}, "unlabelled": 1, "unknown": []}
    ]
    assert found["near_duplicates"][0]["ids"] == ["1", "2"]
    assert found["conflicts"] == [{"indicator": "paid", "ids": {"yes": ["1"], "no": ["2"]}}]
