from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.data import TableLayout, read_csv
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import (
    DescantError,
    DuplicateId,
    InvalidConfig,
    InvalidData,
    InvalidTranscript,
)
from tests.data.rows import yes_no


def read_turns(path: Path, content: str | bytes) -> list[LabelledTranscript]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(path, TableLayout(speaker="who", labels=("greeting",)))


def read_calls(path: Path, content: str) -> list[LabelledTranscript]:
    path.write_text(content, encoding="utf-8")
    return read_csv(path, TableLayout(labels=("greeting",)))


def test_rows_are_turns_grouped_by_id_in_row_order(tmp_path: Path) -> None:
    first, second = read_turns(
        tmp_path / "a.csv",
        "\ufeffid,who,text,greeting,note\n"
        "1,agent,Hello,,x\n"
        '2,agent,"Hi, ""you""",no,\n'
        "\n"
        "1,customer,Grüezi 🙂,yes,\n"
        "1,agent,Bye,yes,\n",
    )
    assert first.transcript.turns == (
        Turn("agent", "Hello"),
        Turn("customer", "Grüezi 🙂"),
        Turn("agent", "Bye"),
    )
    assert second.transcript.turns == (Turn("agent", 'Hi, "you"'),)
    assert [row.labels for row in (first, second)] == [{"greeting": "yes"}, {"greeting": "no"}]


def test_a_row_is_a_conversation_of_speaker_lines(tmp_path: Path) -> None:
    row, labelled = read_calls(
        tmp_path / "a.csv",
        'id,text,greeting\n1,"\nAgent 2: Hello,\nat 10:30 or\nhttps://x.org\n\n'
        'Ms. de Groot:Fine\nI told you all about the following: no","  "\n'
        "2,Agent: Hi, yes \n",
    )
    assert row.transcript.turns == (
        Turn("Agent 2", "Hello,\nat 10:30 or\nhttps://x.org"),
        Turn("Ms. de Groot", "Fine\nI told you all about the following: no"),
    )
    assert row.labels == {"greeting": None}
    assert labelled.labels == {"greeting": "yes"}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_found_or_said(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("note;id;text;greeting\n;1;Agent: Hi, you;yes\n".replace(";", delimiter))
    layout = TableLayout(labels=("greeting",))
    (row,) = read_csv(path, layout)
    assert row.transcript.turns[0].text == "Hi, you"
    assert read_csv(path, layout, delimiter=delimiter) == [row]
    with pytest.raises(InvalidConfig, match="';;'"):
        read_csv(path, layout, delimiter=";;")


def test_columns_named_as_indicators_are_labels_and_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,speaker,text,polite,other\n1,agent,Hi,yes,x\n2,agent,Hi,Yess,x\n")
    assert [row.labels for row in read_csv(path)] == [{}, {}]
    with pytest.raises(InvalidData, match="row 3, column 'polite': 'Yess'.*Did you mean 'yes'"):
        read_csv(path, indicators=[yes_no("polite"), yes_no("absent")])


def test_a_column_that_is_nearly_right_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ID,Text\n1,Agent: Hi\n")
    with pytest.raises(InvalidData, match="'id' is missing. Did you mean 'ID'"):
        read_csv(path)


_cells = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), min_size=1
).filter(lambda text: bool(text.strip()))


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), _cells, _cells), min_size=1),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_what_is_written_as_csv_is_what_is_read(
    rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([("id", "speaker", "text"), *rows])
        found = {row.transcript.id: row.transcript.turns for row in read_csv(path)}
    expected: dict[str, list[Turn]] = {}
    for key, speaker, text in rows:
        expected.setdefault(key, []).append(Turn(" ".join(speaker.split()), text))
    assert {key: list(turns) for key, turns in found.items()} == expected


HEADER = "id,who,text,greeting\n"


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        ("", InvalidData, "is empty"),
        ("id,text,greeting\n", InvalidData, "row 1: column 'who' is missing.*id, text, greeting"),
        ("id,who,text,greeting,id\n", InvalidData, "row 1: column 'id' is twice"),
        (HEADER + "1,agent,Hello\n", InvalidData, "row 2: has 3 cells, the header has 4"),
        (HEADER + "1,agent,Hi,yes\n1,agent, ,yes\n", InvalidData, "row 3, column 'text': is empty"),
        (HEADER + ",agent,Hi,yes\n", InvalidData, "row 2, column 'id': is empty"),
        (HEADER + "1,,Hi,yes\n", InvalidData, "row 2, column 'who': is empty"),
        (
            HEADER + '1,agent,"a\nb",yes\n1,agent,Hi,\n1,agent,Hi,no\n',
            InvalidData,
            "row 4, column 'greeting': 'no', but an earlier row .* 'yes'",
        ),
        (
            HEADER.encode() + b"1,agent,Hi,yes\n2,agent,Gr\xfcezi,yes\n",
            InvalidData,
            "row 3, column 'text', character 3: is not UTF-8",
        ),
        (b"id,who,t\xe9xt\n", InvalidData, "row 1, character 2: is not UTF-8"),
        ("id,who\n".encode("utf-16"), InvalidData, "is UTF-16"),
        (HEADER + "1,agent,Hi,\n2,agent,Ho,\n", InvalidData, "column 'greeting' is empty in"),
        (HEADER + '1,agent,"Hi\n', InvalidData, "line 2: not CSV"),
        (HEADER + "1,agent,\x07,yes\n", InvalidTranscript, "row 2: .*has no text"),
        (HEADER + '"1\n2",agent,Hi,yes\n', InvalidTranscript, "row 2: id .*not printable"),
    ],
)
def test_bad_turn_rows_are_refused_by_row_and_column(
    tmp_path: Path, content: str | bytes, error: type[DescantError], reason: str
) -> None:
    with pytest.raises(error, match=f"a.csv, {reason}|a.csv: {reason}"):
        read_turns(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        ("1,Agent: Hi,yes\n1,Agent: Ho,yes\n", DuplicateId, "row 3, column 'id': '1' .*row 2"),
        ("1,Hello there,yes\n", InvalidTranscript, "row 2, column 'text': .*names no speaker"),
        ("1,Agent:,yes\n", InvalidTranscript, "row 2: .*has no text"),
        ("1,,yes\n", InvalidData, "row 2, column 'text': is empty"),
    ],
)
def test_bad_conversation_rows_are_refused_by_row_and_column(
    tmp_path: Path, content: str, error: type[DescantError], reason: str
) -> None:
    with pytest.raises(error, match=f"a.csv, {reason}"):
        read_calls(tmp_path / "a.csv", "id,text,greeting\n" + content)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"none\.csv: cannot be read"):
        read_csv(tmp_path / "none.csv")
