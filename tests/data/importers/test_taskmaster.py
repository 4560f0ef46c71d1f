from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from descant.data import read_taskmaster
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import InvalidData, WrongFormat

SECRET = "SECRET"


def utterance(speaker: str, text: str, *calls: str) -> dict[str, Any]:
    annotations = [
        {"name": name, "value": value, "context": "api_call_0"}
        for call in calls
        for name, value in (("api_call", call), ("request", SECRET), ("response", SECRET))
    ]
    return {
        "index": 0,
        "speaker": speaker,
        "text": text,
        "segments": [],
        "annotations": annotations,
    }


def dialogue(key: str, *utterances: Any) -> dict[str, Any]:
    return {
        "conversation_id": key,
        "vertical": "Coffee",
        "scenario": SECRET,
        "instructions": SECRET,
        "utterances": list(utterances),
    }


def read(
    path: Path, content: str, skipped: dict[str, str] | None = None
) -> list[LabelledTranscript]:
    path.write_text(content)
    on_skip = {}.__setitem__ if skipped is None else skipped.__setitem__
    return list(read_taskmaster(path, on_skip))


def test_only_what_was_said_becomes_text_and_calls_are_labels(tmp_path: Path) -> None:
    dialogues = [
        dialogue(
            "d1", utterance("user", "A latte.", "add"), utterance("assistant", "Sure.", "end")
        ),
        dialogue("d2", utterance("user", "What do you have?", "show"), utterance("user", " ")),
        dialogue("d3", utterance("user", " ")),
    ]
    skipped: dict[str, str] = {}
    lines = "".join(json.dumps(each) + "\n" for each in dialogues)
    first, second = read(tmp_path / "dialogs_train.jsonl", lines, skipped)
    assert first.transcript.turns == (Turn("customer", "A latte."), Turn("agent", "Sure."))
    assert first.labels == {"called_add": "yes", "called_end": "yes", "called_show": "no"}
    assert second.labels == {"called_add": "no", "called_end": "no", "called_show": "yes"}
    assert skipped == {"d3": "nothing was said"}
    assert read(tmp_path / "data_00.json", json.dumps(dialogues, indent=1)) == [first, second]


def test_the_first_taskmaster_shouts_and_knows_no_calls(tmp_path: Path) -> None:
    utterances = [{"index": 0, "speaker": "USER", "text": "Hi."}]
    document = json.dumps([{"conversation_id": "d1", "utterances": utterances}])
    (row,) = read(tmp_path / "self-dialogs.json", document)
    assert row == LabelledTranscript(row.transcript, {})
    assert row.transcript.turns == (Turn("customer", "Hi."),)


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        ({"conversation_id": "d", "reward": 1.0}, WrongFormat, "line 1: has no utterances"),
        (
            dialogue("d", utterance("robot", "x")),
            InvalidData,
            r"utterances\[0\].speaker: 'robot' is",
        ),
        (dialogue("d", {"speaker": "user"}), InvalidData, r"utterances\[0\].text: is missing"),
        ({"utterances": [utterance("user", "x")]}, InvalidData, "conversation_id: is missing"),
    ],
)
def test_a_bad_dialogue_is_refused_by_line_and_path(
    tmp_path: Path, value: Any, error: type[InvalidData], reason: str
) -> None:
    with pytest.raises(error, match=rf"a\.jsonl, .*{reason}"):
        read(tmp_path / "a.jsonl", json.dumps(value))


@pytest.mark.slow
def test_the_real_data_has_the_counts_its_readme_gives() -> None:
    if "DESCANT_TASKMASTER" not in os.environ:
        pytest.skip("set DESCANT_TASKMASTER to the folder that holds dialogs_train.jsonl.gz")
    folder = Path(os.environ["DESCANT_TASKMASTER"])
    train, dev = (
        list(read_taskmaster(folder / f"dialogs_{part}.jsonl.gz")) for part in ("train", "dev")
    )
    assert (len(train), len(dev)) == (2955, 383)
    assert sum(len(row.transcript.turns) for row in train) == 11064
    calls = Counter(name for row in train for name, label in row.labels.items() if label == "yes")
    assert len(calls) == 8
    assert (calls["called_finish_order"], calls["called_get_addons"]) == (2176, 1724)
