"""A task of yes and no about made-up conversations, and contestants that are right as often as asked."""

from __future__ import annotations

import random
from pathlib import Path

from descant.data import write_jsonl
from descant.evaluation import Outcome, Predictions, Task
from descant.release import Contestant, GatePolicy, GateTask, SlicePlan
from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Transcript,
    Turn,
    indicator_toml,
)

INDICATORS = tuple(
    Indicator(name, f"Was it {name}?", ("no", "yes"), ("yes",), "binary", name)
    for name in ("polite", "solved")
)


def made_task(count: int = 300) -> Task:
    generator = random.Random(0)
    rows = [
        LabelledTranscript(
            Transcript(
                f"call-{at}",
                (Turn("agent", "word " * (5 + at % 40)), Turn("customer", "<b>thanks & bye</b>")),
            ),
            {each.name: generator.choice(each.labels) for each in INDICATORS},
            fields={"agent": f"agent-{at % 5}"},
        )
        for at in range(count)
    ]
    return Task("made up", rows, INDICATORS)


def contestant(task: Task, name: str, share_right: float, seed: int) -> Contestant:
    """Return one whose answers are right with that probability."""
    generator = random.Random(f"{name}/{seed}")
    outcomes = []
    for row in task.rows:
        for indicator in task.indicators:
            right = str(row.labels[indicator.name])
            wrong = "yes" if right == "no" else "no"
            label = right if generator.random() < share_right else wrong
            shares = {label: 0.9, "yes" if label == "no" else "no": 0.1}
            answer = Answer(indicator.name, label, shares, 0.9, None)
            outcomes.append(Outcome(row.transcript.id, indicator.name, right, answer))
    return Contestant(name, f"sha256:{name}", Predictions(task.name, tuple(outcomes)), 0.2, 0.01)


def write_task(folder: Path, task: Task) -> GateTask:
    """Write what a policy names."""
    (folder / "indicators").mkdir(parents=True)
    for indicator in task.indicators:
        path = folder / "indicators" / f"{indicator.name}.toml"
        path.write_text(indicator_toml(indicator))
    write_jsonl(folder / "data.jsonl", task.rows)
    return GateTask(task.name, folder / "data.jsonl", folder / "indicators", drawn="all there are")


def made_policy(folder: Path, task: Task, **more: object) -> GatePolicy:
    return GatePolicy(write_task(folder, task), slices=SlicePlan(("agent",)), **more)  # type: ignore[arg-type]
