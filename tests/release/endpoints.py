"""Endpoints for the tests of this room: a task that the test's own teacher server can answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from descant.evaluation import Outcome, Predictions, Task, run_task
from descant.release import EndpointAnswers, EndpointPlan, ask_endpoint
from descant.schema import LabelledTranscript
from tests.distillation.calls import MOOD, POLITE, transcript


def task_of(count: int) -> Task:
    """Every second one is polite, which the teacher sees; moods it gets right where it is polite."""
    rows = [
        LabelledTranscript(
            transcript(at), {"polite": "yes" if at % 2 == 0 else "no", "mood": "good"}
        )
        for at in range(count)
    ]
    return Task("calls", rows, (POLITE, MOOD))


def asked(address: str, task: Task, folder: Path, **plan: Any) -> EndpointAnswers:
    made = EndpointPlan(address, **{"model": "big", **plan})
    return ask_endpoint(made, task, made.answers_in(folder))


def outcomes(task: Task, said: EndpointAnswers) -> tuple[Outcome, ...]:
    found: Predictions = run_task(task, said)
    return found.outcomes


def lines_in(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.glob("*.answers.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
