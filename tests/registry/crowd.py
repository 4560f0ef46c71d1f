"""Twenty processes that change one registry and are killed at random; a program of its own.

Each writes down what it is about to do and, behind it, what was done. Being killed, it may leave one
line without an answer; everything else must be in the audit trail, and nothing but this.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from descant.registry import AliasChange, Registry
from descant.schema.errors import AliasMoved, NothingToRollBack

NUM_PROCESSES = 20
NAMES = ("empathy", "refund", "greeting")
ALIASES = ("champion", "challenger")
_KILL_EVERY_S = 0.15


def work(location: str, packages: list[Path], journal: Path, seed: int, end_s: float) -> None:
    """Change and read until killed or the time is over."""
    chance = random.Random(seed)
    registry = Registry(location, user=journal.name, now=lambda: datetime.now(UTC))
    with journal.open("a", buffering=1) as lines:
        for turn in itertools.count():
            if time.monotonic() > end_s:
                return
            step(registry, chance, packages, lines.write, f"{journal.name}/{turn}")


def step(
    registry: Registry,
    chance: random.Random,
    packages: list[Path],
    write: Callable[[str], object],
    reason: str,
) -> None:
    name, alias = chance.choice(NAMES), chance.choice(ALIASES)
    kind = chance.choices(("promote", "rollback", "read", "add"), (4, 3, 4, 1))[0]
    if kind == "read":
        read(registry, name)
        return
    write(json.dumps({"intent": reason, "action": kind, "name": name}) + "\n")
    try:
        done = change(registry, chance, packages, (kind, name, alias, reason))
    except (AliasMoved, NothingToRollBack):
        done = None
    number = None if done is None else done.number
    told = {"done": reason, "number": number}
    if done is not None:
        told |= {"before": done.before, "after": done.after, "alias": done.alias}
    write(json.dumps(told) + "\n")


def read(registry: Registry, name: str) -> None:
    for record in registry.records(name):
        folder = registry.folder(record.version)
        assert len(list(folder.iterdir())) == 3, folder
    registry.last_change()


def change(
    registry: Registry,
    chance: random.Random,
    packages: list[Path],
    wanted: tuple[str, str, str, str],
) -> AliasChange | None:
    kind, name, alias, reason = wanted
    if kind == "add":
        registry.add(chance.choice(packages), name, reason=reason)
        return None
    moment = registry.moment()
    seen = moment.aliases.get((name, alias))
    expected = chance.choice((seen, ...))
    if kind == "rollback":
        return registry.rollback(name, alias, reason=reason, expected=expected)
    versions = [record.version for record in moment.records if record.name == name]
    version = f"{name}@{chance.choice(versions)}"
    return registry.promote(version, alias, reason=reason, expected=expected)


@dataclass
class Crowd:
    """The processes that live now."""

    location: str
    packages: list[Path]
    journals: Path
    chance: random.Random
    end_s: float
    living: list[int] = field(default_factory=list)
    num_born: int = 0
    failed: list[int] = field(default_factory=list)

    def bear(self) -> None:
        self.num_born += 1
        journal = self.journals / f"process-{self.num_born}"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(self.location, self.packages, journal, self.num_born, self.end_s)
                code = 0
            except BaseException as error:
                sys.stderr.write(f"{journal.name}: {error!r}\n")
            finally:
                os._exit(code)
        self.living.append(pid)

    def kill_one(self) -> None:
        pid = self.living.pop(self.chance.randrange(len(self.living)))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        # Dead before the signal: it failed by itself, unless its time was over.
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            self.failed.append(pid)

    def wait(self) -> None:
        for pid in self.living:
            _, status = os.waitpid(pid, 0)
            if status != 0:
                self.failed.append(pid)


def main(location: str, packages: Path, journals: Path, seconds: float) -> int:
    """Let the crowd run; returns how many failed otherwise than by being killed."""
    journals.mkdir()
    # What every process needs is imported before there are twenty.
    Registry(location, user="nobody").last_change()
    end_s = time.monotonic() + seconds
    crowd = Crowd(location, sorted(packages.iterdir()), journals, random.Random(7), end_s)
    for _ in range(NUM_PROCESSES):
        crowd.bear()
    while time.monotonic() < end_s:
        time.sleep(_KILL_EVERY_S)
        crowd.kill_one()
        crowd.bear()
    crowd.wait()
    sys.stdout.write(f"{crowd.num_born - NUM_PROCESSES} killed\n")
    return len(crowd.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
