"""Answers from files: scorecards and labelled conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.data import write_jsonl
from descant.evaluation import run_task
from descant.release import read_recording
from descant.schema.errors import InvalidData
from tests.release.task import contestant, made_task


def test_scorecards_are_read_back(tmp_path: Path) -> None:
    task = made_task(6)
    given = contestant(task, "ours", 0.7, 1).predictions
    path = tmp_path / "cards.jsonl"
    with path.open("w") as file:
        for row in task.rows:
            id = row.transcript.id
            answers = [
                {
                    "indicator": o.indicator,
                    "label": o.answer.label,
                    "probabilities": dict(o.answer.probabilities),
                    "confidence": o.answer.confidence,
                    "unanswered": None,
                }
                for o in given.outcomes
                if o.transcript_id == id
            ]
            file.write(json.dumps({"transcript_id": id, "answers": answers}) + "\n")
    told = run_task(task, read_recording(path))
    assert [o.answer.label for o in told.outcomes] == [o.answer.label for o in given.outcomes]
    assert [o.answer.confidence for o in told.outcomes] == [0.9] * 12


def test_labelled_conversations_are_answers_and_what_is_missing_is_unanswered(
    tmp_path: Path,
) -> None:
    task = made_task(6)
    write_jsonl(tmp_path / "labelled.jsonl", task.rows[:4])
    told = run_task(task, read_recording(tmp_path / "labelled.jsonl"))
    assert [o.answer.label == o.expected for o in told.outcomes] == [True] * 8 + [False] * 4
    assert told.outcomes[-1].answer.unanswered == "It is not in the recording."


@pytest.mark.parametrize(
    "line", ['{"answers": 3}', '{"answers": [], "x": 1}', '{"answers": [{}], "transcript_id": "a"}']
)
def test_what_is_no_scorecard_is_refused_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cards.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidData, match="line 1"):
        read_recording(path)


def test_a_conversation_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cards.jsonl"
    path.write_text('{"answers": [], "transcript_id": "a"}\n' * 2)
    with pytest.raises(InvalidData, match="line 2"):
        read_recording(path)
