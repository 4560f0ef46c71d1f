from __future__ import annotations

from pathlib import Path

import pytest

from descant.data import read_labels
from descant.schema.errors import DuplicateId, InvalidData
from tests.data.rows import call, yes_no

INDICATORS = [yes_no("polite"), yes_no("refund_offered")]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_labels_are_added_to_those_a_conversation_has(tmp_path: Path) -> None:
    path = write(tmp_path, "id;polite;refund_offered\na;yes;\nb;;no\n")
    labels = read_labels(path, INDICATORS)
    row = labels.label(call("a", labels={"other": "x", "polite": None, "refund_offered": "no"}))
    assert row.labels == {"other": "x", "polite": "yes", "refund_offered": "no"}
    assert labels.label(call("b")).labels == {"polite": None, "refund_offered": "no"}
    assert labels.label(call("c")).labels == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,polite\na,Yse\n", "row 2, column 'polite': 'Yse' is not .*Did you mean 'yes'"),
        ("id,polite\na,n\n", "row 2, column 'polite': 'n' .*Did you mean 'no'"),
        ("id,polite\na,17\n", "row 2, column 'polite': '17' .*polite'. Use one of 'no', 'yes'"),
        ("id,poltie\na,yes\n", "row 1: column 'poltie' is not .*Did you mean 'polite'"),
        ("id,polite,polite\na,yes,no\n", "row 1: column 'polite' is twice"),
        ("ID,polite\na,yes\n", "row 1: column 'id' is missing. Did you mean 'ID'"),
        ("id,polite\n,yes\n", "row 2, column 'id': is empty"),
        ("id,polite\na,\nb, \n", "column 'polite' is empty in every row"),
        (b"id,polite\na,yes\nb,n\xf6\n", "row 3, column 'polite', character 2: is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_by_row_and_column(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(InvalidData, match=rf"labels\.csv(, |: ){reason}"):
        read_labels(write(tmp_path, content), INDICATORS)


def test_one_conversation_has_one_row(tmp_path: Path) -> None:
    path = write(tmp_path, "id,polite\na,yes\nb,no\na,yes\n")
    with pytest.raises(DuplicateId, match="row 4, column 'id': 'a' was used in row 2"):
        read_labels(path)


def test_labels_that_contradict_the_conversation_are_refused(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path, "id,polite\na,yes\n"))
    with pytest.raises(InvalidData, match="row 2, column 'polite': 'yes', but .*'no'"):
        labels.label(call("a", labels={"polite": "no"}))
