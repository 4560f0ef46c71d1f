"""Twenty processes promote, roll back, add and read while some are killed: nothing is lost or made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from descant.registry import AuditEntry, Registry
from tests.registry.crowd import NAMES
from tests.registry.packages import package, registry

REPOSITORY = Path(__file__).parents[2]
Line = dict[str, Any]


def prepare(location: str, place: Path) -> Registry:
    made = registry(location)
    for seed in range(1, 7):
        folder = package(place / "packages" / str(seed), seed)
        for name in NAMES if seed < 4 else ():
            made.add(folder, name, reason="prepared")
    return made


def run_program(name: str, *arguments: object) -> str:
    """Run a program that forks, which a process with threads had better not; return what it says."""
    command = [sys.executable, "-m", f"tests.registry.{name}", *map(str, arguments)]
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_crowd(location: str, place: Path, seconds: float) -> int:
    """Return how many were killed."""
    folders = place / "packages", place / "journals"
    return int(run_program("crowd", location, *folders, seconds).split()[0])


def journal_lines(place: Path) -> list[Line]:
    paths = sorted((place / "journals").iterdir())
    whole = [line for path in paths for line in path.read_text().split("\n")[:-1]]
    return [json.loads(line) for line in whole]


def assert_accounted_for(lines: list[Line], trail: list[AuditEntry], num_killed: int) -> None:
    intents = {line["intent"]: line for line in lines if "intent" in line}
    done = {line["done"]: line for line in lines if "done" in line}
    entries = {entry.reason: entry for entry in trail if entry.reason != "prepared"}
    for reason, entry in entries.items():
        assert entry.who == reason.partition("/")[0]
        assert (entry.action, entry.name) == (intents[reason]["action"], intents[reason]["name"])
    told = {reason: line for reason, line in done.items() if line["number"] is not None}
    for reason, line in told.items():
        entry = entries[reason]
        assert (entry.number, entry.before, entry.after, entry.alias) == tuple(
            line[key] for key in ("number", "before", "after", "alias")
        )
    assert "promote" in {entry.action for entry in entries.values()}
    # One that was killed may have done what it did not live to tell, once.
    assert len(entries.keys() - done.keys()) <= num_killed


def check_crowd(location: str, place: Path, seconds: float) -> None:
    made = prepare(location, place)
    num_killed = run_crowd(location, place, seconds)
    found = made.verify(cleans=True)
    assert found.is_clean, found.findings
    assert found.leftovers == ()
    trail, lines = made.log(), journal_lines(place)
    assert_accounted_for(lines, trail, num_killed)
    assert replay(trail) == made.moment().aliases
    counts = {action: sum(e.action == action for e in trail) for action in ("promote", "rollback")}
    told = f"{len(trail)} changes {counts}, {num_killed} killed, {found.num_files} files clean"
    sys.stdout.write(f"{told}\n")


def replay(trail: list[AuditEntry]) -> dict[tuple[str, str], str]:
    """Twice as simple as ours: an alias means what the last entry about it says."""
    return {
        (e.name, e.alias): e.after for e in trail if e.alias is not None and e.after is not None
    }


def test_a_kill_at_any_step_of_an_addition_leaves_it_whole(location: str, tmp_path: Path) -> None:
    run_program("killed", location, tmp_path / "packages")


def test_a_crowd_of_twenty_being_killed_at_random(location: str, tmp_path: Path) -> None:
    check_crowd(location, tmp_path, 2.0)


@pytest.mark.slow
def test_a_crowd_of_twenty_being_killed_at_random_for_a_minute(
    location: str, tmp_path: Path
) -> None:
    check_crowd(location, tmp_path, 60.0)
