"""One process after the other, each killed at another step of an addition; a program of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from descant.registry import content, content_store, registry
from descant.registry.catalogue import Catalogue
from descant.registry.content_store import ContentStore
from tests.registry import packages

KILLED = 9
STEPS: list[tuple[Any, str]] = [
    (registry, "accepted_files"),
    (ContentStore, "sweep"),
    (content, "_pour"),
    (registry, "write_file"),
    (registry, "check_files"),
    (ContentStore, "stage"),
    (content_store, "sync_folder"),
    (ContentStore, "_rename"),
    (registry, "add_content"),
    (registry, "add_version"),
    (registry, "append"),
    (registry, "_note"),
    (ContentStore, "settle"),
    (Catalogue, "changing"),
]


def die_at(place: Any, name: str, *, is_behind: bool) -> None:
    """Let the process end without a word before or behind the first call of a function."""
    real = getattr(place, name)

    def last(*arguments: Any, **named: Any) -> None:
        if is_behind:
            real(*arguments, **named)
        os._exit(KILLED)

    setattr(place, name, last)


def add_and_die(location: str, folder: Path, step: int, *, is_behind: bool) -> None:
    opened = packages.registry(location)
    die_at(*STEPS[step], is_behind=is_behind)
    opened.add(folder, "empathy")


def main(location: str, place: Path) -> None:
    """Kill at each step; the registry must be whole behind each, and take the same in then."""
    opened = packages.registry(location)
    seeds = iter(range(1, 1000))
    for step in range(len(STEPS)):
        for is_behind in (False, True):
            folder = packages.package(place / str(seed := next(seeds)), seed)
            pid = os.fork()
            if pid == 0:
                try:
                    add_and_die(location, folder, step, is_behind=is_behind)
                finally:
                    os._exit(1)
            _, status = os.waitpid(pid, 0)
            point = f"{'behind' if is_behind else 'before'} {STEPS[step][1]}"
            assert os.waitstatus_to_exitcode(status) == KILLED, point
            assert opened.verify().is_clean, (point, opened.verify())
            opened.add(folder, "empathy")
            found = opened.verify()
            assert found.is_clean, (point, found)
            assert found.leftovers == (), (point, found)
            assert found.num_versions == found.num_changes == seed, (point, found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
