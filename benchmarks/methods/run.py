"""Every method on the same rows: trains, judges, and keeps each answer; finished parts stay.

    .venv/bin/python -m benchmarks.methods.run --data FOLDER [--studies star multidogo banking77]

FOLDER holds the data sets, one folder each; they are not part of the project. Several of these may run
beside each other: each takes the next part that nobody works on. Seconds are those of the processor,
on one thread, so that what else runs does not count. `benchmarks.methods.table` shows what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.methods.arms import ALONE, ARMS, SEEDLESS, Work
from benchmarks.methods.rows import STUDIES, Study
from benchmarks.star.machine import describe

from descant.cli.process import prepare_process
from descant.evaluation import Task, run_task
from descant.registry import replacing


@dataclass(frozen=True)
class Part:
    """One method on one study from one seed; with `indicator`, on that one alone."""

    study: str
    arm: str
    seed: int
    indicator: str | None

    def folder(self, work: Path) -> Path:
        """Return where its result is."""
        return work / self.study / self.arm / str(self.seed) / (self.indicator or "all")


def main() -> None:
    """Do what is not done."""
    options = _options()
    torch.set_num_threads(1)
    for name in options.studies:
        study = STUDIES[name](options.data / name)
        _say(
            f"{name}: {len(study.train)} conversations to learn from, {len(study.dev)} to judge by"
        )
        for part in parts(study, options.arms, options.seeds):
            folder = part.folder(options.work)
            if not (folder / "result.json").exists() and _claimed(folder):
                _say(f"{part}")
                result = _run(study, part, folder)
                with replacing(folder / "result.json") as file:
                    file.write(json.dumps(result).encode())
                _say(f"\n  {result['train_s']:.0f} s to learn, {result['score_s']:.0f} s to judge")


def parts(study: Study, arms: list[str], seeds: int) -> Iterator[Part]:
    """Yield the parts of a study; the first seed of all methods comes first."""
    for seed in range(seeds):
        for arm in arms:
            if seed > 0 and arm in SEEDLESS:
                continue
            alone = arm in ALONE and len(study.indicators) > 1
            names = [each.name for each in study.indicators] if alone else [None]
            yield from (Part(study.name, arm, seed, name) for name in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--studies", nargs="*", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def _claimed(folder: Path) -> bool:
    """Return whether this process is the first of those that live to take a part."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = folder / "claim"
    if claim.exists() and not Path(f"/proc/{claim.read_text() or 0}").exists():
        claim.unlink(missing_ok=True)
    try:
        with claim.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def _run(study: Study, part: Part, folder: Path) -> dict[str, Any]:
    indicators = tuple(each for each in study.indicators if part.indicator in (None, each.name))
    started = time.process_time()
    completer = ARMS[part.arm](Work(study, indicators, part.seed, folder))
    learned = time.process_time()
    asked = [row for row in study.dev if any(row.labels.get(i.name) for i in indicators)]
    predictions = run_task(Task(study.name, asked, indicators), completer)
    return {
        **describe(),
        "train_s": learned - started,
        "score_s": time.process_time() - learned,
        "conversations": len(asked),
        "answers": [
            [each.transcript_id, each.indicator, each.expected, each.answer.label]
            for each in predictions.outcomes
        ],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    prepare_process()
    main()
