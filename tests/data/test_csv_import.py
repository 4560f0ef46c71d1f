from __future__ import annotations

from pathlib import Path

import pytest

from descant.data import read_csv
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import (
    DescantError,
    DuplicateId,
    InvalidConfig,
    InvalidData,
    InvalidTranscript,
)


def read_turns(path: Path, content: str | bytes) -> list[LabelledTranscript]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(
        path, id_column="id", speaker_column="who", text_column="text", label_columns=["greeting"]
    )


def read_calls(path: Path, content: str) -> list[LabelledTranscript]:
    path.write_text(content, encoding="utf-8")
    return read_csv(path, id_column="id", text_column="text", label_columns=["greeting"])


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
    (row,) = read_calls(
        tmp_path / "a.csv",
        'id,text,greeting\n1,"\nAgent 2: Hello,\nat 10:30 or\nhttps://x.org\n\n'
        'Ms. de Groot:Fine\nI told you all about the following: no","  "\n',
    )
    assert row.transcript.turns == (
        Turn("Agent 2", "Hello,\nat 10:30 or\nhttps://x.org"),
        Turn("Ms. de Groot", "Fine\nI told you all about the following: no"),
    )
    assert row.labels == {"greeting": None}


def test_another_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;text;greeting\n1;Agent: Hi, you;yes\n")
    columns = {"id_column": "id", "text_column": "text"}
    (row,) = read_csv(path, label_columns=["greeting"], delimiter=";", **columns)
    assert row.transcript.turns[0].text == "Hi, you"
    with pytest.raises(InvalidConfig, match="';;'"):
        read_csv(path, label_columns=["greeting"], delimiter=";;", **columns)


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
            "row 3, column 'text': is not UTF-8",
        ),
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
        read_csv(tmp_path / "none.csv", id_column="id", text_column="text", label_columns=[])
