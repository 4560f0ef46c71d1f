from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from descant.data import check_leakage, multidogo_indicators, read_multidogo
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import InvalidData, UnknownIndicator, WrongFormat

HEADER = "conversationId\tturnNumber\tutteranceId\tutterance\tslot-labels\tintent\n"


def read(
    folder: Path, content: str, skipped: dict[str, str] | None = None
) -> list[LabelledTranscript]:
    path = folder / "train.tsv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    on_skip = {}.__setitem__ if skipped is None else skipped.__setitem__
    return list(read_multidogo(path, on_skip))


def test_turns_of_the_customer_stay_apart_and_intents_are_labels(tmp_path: Path) -> None:
    rows = (
        'a\t0.0\t<CONV>a<TURN>0\t"hi, i need\na tea"\tO O O O drink\topeninggreeting<div>orderdrinkintent\n'
        "a\t10.0\t\tone\tquantity\tcontentonly\n"
        "a\t2.0\t\tyes\tO\tconfirmation\n"
        "b\t1\t\tthanks\tO\tthankyou\n"
        "b\t3\t\t\t\toutofdomain\n"
        "c\t1\t\t \t\toutofdomain\n"
    )
    skipped: dict[str, str] = {}
    first, second = read(tmp_path, HEADER + rows, skipped)
    assert first.transcript.turns == (
        Turn("customer", "hi, i need\na tea"),
        Turn("customer", "yes"),
        Turn("customer", "one"),
    )
    named = ("openinggreeting", "orderdrinkintent", "confirmation")
    assert {name for name, label in first.labels.items() if label == "yes"} == set(named)
    assert second.labels == {
        **dict.fromkeys(first.labels, "no"),
        "thankyou": "yes",
        "outofdomain": "yes",
    }
    assert skipped == {"c": "nothing was said"}


def test_without_annotation_both_speak(tmp_path: Path) -> None:
    header = "conversationId\tturnNumber\tutteranceId\tutterance\tauthorRole\n"
    (row,) = read(tmp_path, header + "a\t0\t\thi\tcustomer\na\t1\t\thello\tagent\n")
    assert row.transcript.turns == (Turn("customer", "hi"), Turn("agent", "hello"))
    assert row.labels == {}


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        ("id\ttext\n", WrongFormat, "row 1: a file of MultiDoGO has the columns"),
        (
            HEADER + "a\tx\t\thi\tO\tthankyou\n",
            InvalidData,
            "row 2, column 'turnNumber': 'x' is not",
        ),
        (HEADER + "a\t0\t\thi\tO\n", InvalidData, "row 2: has 5 cells, the header has 6"),
        (
            HEADER + "\t0\t\thi\tO\tthankyou\n",
            InvalidData,
            "row 2, column 'conversationId': is empty",
        ),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(
    tmp_path: Path, content: str, error: type[InvalidData], reason: str
) -> None:
    with pytest.raises(error, match=rf"train\.tsv\.gz, {reason}"):
        read(tmp_path, content)


def test_every_question_is_its_own() -> None:
    indicators = multidogo_indicators()
    assert len({indicator.question for indicator in indicators}) == len(indicators)
    assert [each.name for each in multidogo_indicators(["thankyou"])] == ["thankyou"]
    with pytest.raises(UnknownIndicator, match="contentonly"):
        multidogo_indicators(["contentonly"])


@pytest.mark.slow
def test_the_real_data_has_the_counts_its_readme_gives() -> None:
    if "DESCANT_MULTIDOGO" not in os.environ:
        pytest.skip("set DESCANT_MULTIDOGO to the folder that holds a folder for each domain")
    folder = Path(os.environ["DESCANT_MULTIDOGO"])
    counts = {"fastfood": (1563, 223), "airline": (1682, 240), "finance": (1684, 240)}
    counts |= {"insurance": (1624, 232), "media": (1694, 242), "software": (1653, 236)}
    asked = {indicator.name for indicator in multidogo_indicators()}
    seen: set[str] = set()
    for domain, expected in counts.items():
        parts = [
            list(read_multidogo(folder / domain / f"{part}.tsv.gz")) for part in ("train", "dev")
        ]
        assert tuple(map(len, parts)) == expected
        for row in [row for part in parts for row in part]:
            seen.update(row.labels)
        check_leakage(parts[0], multidogo_indicators(sorted(asked & set(parts[0][0].labels))))
    assert seen == asked
