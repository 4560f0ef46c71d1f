from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

from descant.cli import usage
from descant.cli.app import _Commands
from descant.cli.usage_table import money_text
from descant.gateway.call import Usage
from tests.gateway.ledger.books import NOON_S, record, rows, write

RECORDS = [
    record("r1", usage=Usage(1_200, 300, 200), money_nano=2_500_000_000, total_s=1.5),
    record(
        "r2",
        model="=refund,\n",
        tenant="sales",
        key="bot",
        total_s=0.2,
        adapter_hash="sha256:" + "ab" * 32,
    ),
    record("r3", outcome="refused", status=429, money_nano=0, usage=Usage(), upstream=None),
    record("r1", kind="shadow", money_nano=500_000_000, usage=Usage()),
    record("r4", outcome="cached", time_s=NOON_S + 86_400, money_nano=0, is_stream=True),
]


@pytest.fixture
def books(tmp_path: Path) -> str:
    place = str(tmp_path / "usage.sqlite")
    write(place, RECORDS)
    return place


def run(*arguments: str) -> int:
    app = typer.Typer(cls=_Commands, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    usage.add_to(app)
    with pytest.raises(SystemExit) as ended:
        app(args=["usage", *arguments])
    return int(ended.value.code or 0)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_people_see_a_line_for_each_tenant_and_one_for_all(
    books: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(books) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        "quality",
        "3",
        "1,300",
        "240",
        "310",
        "3.00",
        "100",
        "ms",
        "1.50",
        "s",
        "1",
        "-",
        "-",
    ] in lines
    assert [
        "sales",
        "1",
        "100",
        "40",
        "10",
        "0.0000015",
        "200",
        "ms",
        "200",
        "ms",
        "-",
        "-",
        "-",
    ] in lines
    assert [
        "all",
        "4",
        "1,400",
        "280",
        "320",
        "3.00",
        "200",
        "ms",
        "1.50",
        "s",
        "1",
        "-",
        "-",
    ] in lines


def test_programs_get_every_figure(books: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, books, "--by", "day", "--by", "kind")
    assert found["by"] == ["day", "kind"]
    assert [(row["day"], row["kind"], row["requests"]) for row in found["rows"]] == [
        ("2026-11-01", "answer", 3),
        ("2026-11-01", "shadow", 0),
        ("2026-11-02", "answer", 1),
    ]
    assert found["total"] == {
        "requests": 4,
        "refused": 1,
        "failed": 0,
        "cancelled": 0,
        "prompt_tokens": 1_400,
        "cached_tokens": 280,
        "completion_tokens": 320,
        "money_nano": 3_000_001_500,
        "p50_s": 0.2,
        "p99_s": 1.5,
    }


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        (["--since", "2026-11-02"], 1),
        (["--until", "2026-11-02"], 3),
        (["--tenant", "sales"], 1),
        (["--key", "team", "--model", "polite"], 3),
        (["--since", "2027-01-01"], 0),
    ],
)
def test_only_what_is_asked_for_is_summed(
    books: str, capsys: pytest.CaptureFixture[str], options: list[str], requests: int
) -> None:
    assert told(capsys, books, *options)["total"]["requests"] == requests


def test_the_records_themselves_can_be_had_as_csv(books: str, tmp_path: Path) -> None:
    file = tmp_path / "out" / "usage.csv"
    assert run(books, "--csv", str(file), "--tenant", "quality") == 0
    with file.open(newline="") as opened:
        found = list(csv.DictReader(opened))
    expected = [row for row in rows(books) if row["tenant"] == "quality"]
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in expected
    ]
    assert found == as_text
    assert len(found) == 4


def test_the_records_themselves_can_be_had_as_parquet(books: str, tmp_path: Path) -> None:
    file = tmp_path / "usage.parquet"
    assert run(books, "--parquet", str(file)) == 0
    found = pq.read_table(file).to_pylist()
    expected = rows(books)
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert found[0]["time"] == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert [row["is_stream"] for row in found] == [False, False, False, False, True]
    assert {row["model"] for row in found} == {"polite", "=refund,\n"}
    assert sum(row["money_nano"] for row in found) == 3_000_001_500


def test_empty_books_give_a_table_and_empty_files(tmp_path: Path) -> None:
    place = str(tmp_path / "usage.sqlite")
    write(place, [])
    files = [str(tmp_path / "a.csv"), str(tmp_path / "a.parquet")]
    assert run(place, "--csv", files[0], "--parquet", files[1]) == 0
    assert pq.read_table(files[1]).num_rows == 0
    assert len(Path(files[0]).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.sqlite"], "There are no books at"),
        (["{books}", "--by", "colour"], "Usage is not known by 'colour'"),
        (["{books}", "--since", "yesterday"], "Invalid value for '--since'"),
        (["mysql://user:secret@host/x"], "which is not known"),
        (["{books}", "--csv", "/dev/null/x.csv"], "Cannot write in"),
    ],
)
def test_a_mistake_is_said_with_exit_code_2(
    books: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(*[each.replace("{books}", books) for each in arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "secret" not in err


def test_a_file_that_is_no_ledger_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"not a database" * 100)
    assert run(str(tmp_path / "x.sqlite")) == 1
    assert "file is not a database" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (1_500, "0.0000015"),
        (1_000_000, "0.0010"),
        (999_960_000, "1.0000"),
        (12_345_678_900_000, "12,345.68"),
    ],
)
def test_money_is_told_from_nothing(nano: int, text: str) -> None:
    assert money_text(nano) == text


def test_the_command_is_known_without_what_it_imports() -> None:
    code = "import sys, descant.cli.usage; print([m for m in ('sqlalchemy', 'pyarrow', 'rich.table') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
