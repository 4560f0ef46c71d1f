from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from descant.data import HARD_INDICATORS, check_leakage, read_star, star_indicators
from descant.schema import Turn
from descant.schema.errors import InvalidData, UnknownIndicator

UTTER = {"Agent": "User", "Action": "utter", "Text": "Book a ride."}
SECRET = "SECRET"


def write_part(folder: Path, dialogues: list[Any], labels: list[Any]) -> Path:
    for name, tables in (("train", dialogues), ("labels_train", labels)):
        content = "".join(json.dumps(table) + "\n" for table in tables)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    return folder


def dialogue(number: int, *events: Any, level: str = "Complete") -> dict[str, Any]:
    return {
        "DialogueID": number,
        "CompletionLevel": level,
        "Scenario": {"Domains": [SECRET]},
        "Events": list(events),
    }


def label(number: int, **values: int | None) -> dict[str, Any]:
    return {"DialogueID": number, "labels": values}


def test_only_what_customer_and_agent_said_becomes_text(tmp_path: Path) -> None:
    events = [
        {"Agent": "UserGuide", "Action": "instruct", "Text": SECRET},
        UTTER,
        {"Agent": "Wizard", "Action": "request_suggestions", "Text": SECRET},
        {"Agent": "Wizard", "Action": "query", "Constraints": [SECRET]},
        {"Agent": "KnowledgeBase", "Action": "return_item", "Item": SECRET},
        {
            "Agent": "Wizard",
            "Action": "pick_suggestion",
            "Text": "Where to?",
            "ActionLabel": SECRET,
        },
        {"Agent": "Wizard", "Action": "utter", "Text": "Sure.\r\n"},
        {"Agent": "User", "Action": "utter", "Text": "  "},
        {"Agent": "User", "Action": "complete"},
    ]
    folder = write_part(tmp_path, [dialogue(5, *events)], [label(5, a=1, b=0, c=None)])
    (row,) = read_star(folder, "train")
    assert row.transcript.id == "star-5"
    assert row.transcript.turns == (
        Turn("customer", "Book a ride."),
        Turn("agent", "Where to?"),
        Turn("agent", "Sure.\n"),
    )
    assert row.labels == {"a": "yes", "b": "no", "c": None}


def test_broken_off_and_empty_dialogues_are_skipped_with_their_reason(tmp_path: Path) -> None:
    dialogues = [
        dialogue(1, UTTER, level="DisconnectDuringDialogue"),
        dialogue(2),
        dialogue(3, UTTER),
    ]
    skipped: dict[str, str] = {}
    rows = read_star(
        write_part(tmp_path, dialogues, [label(at) for at in (1, 2, 3)]),
        "train",
        skipped.__setitem__,
    )
    assert [row.transcript.id for row in rows] == ["star-3"]
    assert read_star(tmp_path, "train") == rows
    assert skipped == {"star-1": "not complete", "star-2": "nothing was said"}


@pytest.mark.parametrize(
    ("bad", "bad_label", "reason"),
    [
        (dialogue(2, UTTER), label(3), "train.jsonl.gz, line 2: dialogue 2 has no labels"),
        ({"Events": []}, label(2), "line 2: DialogueID is missing"),
        ({"DialogueID": 2}, label(2), "line 2: Events is missing"),
        (dialogue(2, "x"), label(2), "line 2: an event is not an object"),
        (dialogue(2, {**UTTER, "Text": None}), label(2), "line 2: Text is missing"),
        (dialogue(2, UTTER), label(2, a=2), "labels_train.jsonl.gz, line 2: label of 'a' is 2"),
        (dialogue(2, UTTER), {"DialogueID": 2}, "line 2: labels is missing"),
        (
            dialogue(2, UTTER),
            {"DialogueID": 2, "labels": {"a": [1]}},
            "line 2: label of 'a' is \\[1\\]",
        ),
    ],
)
def test_damaged_data_is_refused_by_file_and_line(
    tmp_path: Path, bad: Any, bad_label: Any, reason: str
) -> None:
    write_part(tmp_path, [dialogue(1, UTTER), bad], [label(1), bad_label])
    with pytest.raises(InvalidData, match=reason):
        read_star(tmp_path, "train")


def test_a_missing_part_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"labels_dev\.jsonl\.gz: cannot be read"):
        read_star(tmp_path, "dev")


def test_every_question_is_its_own_and_the_hard_ones_have_one() -> None:
    indicators = star_indicators()
    assert len({indicator.question for indicator in indicators}) == len(indicators) >= 20
    names = [*reversed(HARD_INDICATORS)]
    assert [indicator.name for indicator in star_indicators(names)] == names
    with pytest.raises(UnknownIndicator, match="handle_time"):
        star_indicators(["handle_time_over_10min"])


@pytest.mark.slow
def test_the_real_data_has_the_counts_its_readme_gives() -> None:
    if "DESCANT_STAR" not in os.environ:
        pytest.skip("set DESCANT_STAR to the folder that holds train.jsonl.gz and its labels")
    folder = Path(os.environ["DESCANT_STAR"])
    skipped: list[str] = []
    rows = [
        row
        for part in ("train", "dev")
        for row in read_star(folder, part, lambda _, reason: skipped.append(reason))
    ]
    assert (len(rows), skipped.count("not complete"), skipped.count("nothing was said")) == (
        4802,
        724,
        2,
    )
    for name, positives, labelled in (
        ("agent_asked_name", 2345, 4540),
        ("customer_annoyed", 198, 4802),
        ("bank_full_verification_before_disclosure", 307, 426),
    ):
        found = [row.labels[name] for row in rows if row.labels[name] is not None]
        assert (found.count("yes"), len(found)) == (positives, labelled)
    check_leakage(rows, star_indicators())
