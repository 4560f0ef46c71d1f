from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.data import TableLayout, read_parquet
from descant.schema import Turn
from descant.schema.errors import InvalidData, InvalidTranscript, MissingDependency, WrongFormat
from tests.data.rows import yes_no

LAYOUT = TableLayout(labels=("greeting",))


def write(folder: Path, **columns: Any) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_rows_are_turns_grouped_by_id(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        id=[7, 8, 7],
        speaker=pa.array(["agent", "agent", "customer"]).dictionary_encode(),
        text=pa.array(["Hello", "Hi", "Grüezi 🙂"], pa.large_string()),
        greeting=["yes", None, None],
        seconds=[0.5, 1.5, 2.5],
    )
    first, second = read_parquet(path, LAYOUT)
    assert first.transcript.id == "7"
    assert first.transcript.turns == (Turn("agent", "Hello"), Turn("customer", "Grüezi 🙂"))
    assert [first.labels, second.labels] == [{"greeting": "yes"}, {"greeting": None}]


def test_a_row_is_a_conversation_of_speaker_lines(tmp_path: Path) -> None:
    path = write(tmp_path, id=["a"], text=["Agent: Hi,\nyou\nCaller: Ho"], greeting=[1])
    (row,) = read_parquet(path, LAYOUT)
    assert row.transcript.turns == (Turn("Agent", "Hi,\nyou"), Turn("Caller", "Ho"))
    assert row.labels == {"greeting": "1"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"id": ["a"], "txt": ["x"]}, "column 'text' is missing. Did you mean 'txt'"),
        ({"id": ["a", None], "text": ["A: x", "A: y"]}, "row 2, column 'id': is empty"),
        ({"id": ["a"], "text": [7]}, "column 'text': is of type int64, not text"),
        ({"id": [1.5], "text": ["A: x"]}, "column 'id': is of type double"),
        (
            {"id": ["a"], "text": ["A: x"], "polite": [True]},
            "column 'polite': is of type bool, not text",
        ),
        (
            {"id": ["a"], "text": ["A: x"], "polite": [None]},
            "column 'polite' is empty in every row",
        ),
        (
            {"id": ["a"], "text": ["A: x"], "polite": ["Yes"]},
            "row 1, column 'polite': 'Yes' .*Did you mean 'yes'",
        ),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(
    tmp_path: Path, columns: dict[str, list[Any]], reason: str
) -> None:
    with pytest.raises(InvalidData, match=rf"a\.parquet(, |: ){reason}"):
        read_parquet(write(tmp_path, **columns), indicators=[yes_no("polite")])


def test_a_text_without_speaker_is_refused_by_row(tmp_path: Path) -> None:
    path = write(tmp_path, id=["a", "b"], text=["A: x", "hello there"])
    with pytest.raises(InvalidTranscript, match="row 2, column 'text'"):
        read_parquet(path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"A: \xfc")]
    )
    with pytest.raises(InvalidData, match=r"a\.parquet: .*not UTF-8"):
        read_parquet(write(tmp_path, id=["a"], text=text))


@pytest.mark.parametrize("content", [b"", b"id,text\n1,Agent: Hi\n", b"PAR1 and more PAR1"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(WrongFormat, match=r"a\.parquet: not Parquet"):
        read_parquet(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"none\.parquet: cannot be read"):
        read_parquet(tmp_path / "none.parquet")


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"descant\[parquet\]"):
        read_parquet(tmp_path / "a.parquet")


_cells = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("12"), _cells, _cells), min_size=1))
def test_what_is_written_is_what_is_read(rows: list[tuple[str, str, str]]) -> None:
    ids, speakers, texts = (list(column) for column in zip(*rows, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        found = read_parquet(write(Path(folder), id=ids, speaker=speakers, text=texts))
    read = [
        (row.transcript.id, turn.speaker, turn.text)
        for row in found
        for turn in row.transcript.turns
    ]
    assert sorted(read) == sorted(rows)
