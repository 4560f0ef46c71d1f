"""Contents on disk: one folder for each, called by its hash.

A content is built in a folder whose name starts with a dot, waits under its own hash behind a dot
while the catalogue is told of it, and loses the dot when the catalogue knows it. A kill between two
of these steps leaves a name with a dot: `sweep` finishes what the catalogue knows and removes the rest.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from descant.registry.atomic import sync_folder
from descant.registry.content import Content, read_content
from descant.registry.folder_lock import LOCK_FILE, folder_lock

_STAGED = re.compile(r"\.[0-9a-f]{64}")


class ContentStore:
    """The folder of all contents; processes may share it."""

    def __init__(self, folder: Path):
        self.path = folder

    def make(self) -> None:
        """Make the folder."""
        self.path.mkdir(parents=True, exist_ok=True)

    def folder(self, version: str) -> Path:
        """Return where a content lies that the catalogue knows."""
        place = self._place(version)
        if not place.is_dir():
            self.settle(version)
        return place

    @contextmanager
    def adding(self) -> Iterator[Path]:
        """Give an empty folder to build a content in; until the end nothing is swept."""
        with folder_lock(self.path, is_shared=True):
            building = self.path / f".new-{secrets.token_hex(8)}"
            building.mkdir()
            try:
                yield building
            finally:
                shutil.rmtree(building, ignore_errors=True)

    def stage(self, building: Path, content: Content) -> None:
        """Let what was built wait for the catalogue, or take the place of the same if damaged."""
        sync_folder(building)
        place = self._place(content.version)
        if not place.is_dir():
            self._rename(building, self._staged(content.version))
        elif read_content(place) != content:
            place.rename(self.path / f".damaged-{secrets.token_hex(8)}")
            self._rename(building, place)
        sync_folder(self.path)

    def settle(self, version: str) -> None:
        """Put a content the catalogue knows in its place, unless it is there."""
        self._rename(self._staged(version), self._place(version))
        sync_folder(self.path)

    def sweep(self, is_known: Callable[[str], bool], *, waits: bool) -> list[str]:
        """Finish or remove what killed writers left, and return the names of what was removed.

        While someone adds, it waits, or does nothing.
        """
        removed = []
        with folder_lock(self.path, waits=waits) as is_held:
            for path in self.leftovers() if is_held else ():
                version = f"sha256:{path.name[1:]}"
                if _STAGED.fullmatch(path.name) and is_known(version):
                    self.settle(version)
                if path.exists():
                    _remove(path)
                    removed.append(path.name)
        return removed

    def leftovers(self) -> list[Path]:
        """Return what lies here under a name that starts with a dot: unfinished, or being written."""
        return sorted(path for path in self.path.glob(".*") if path.name != LOCK_FILE)

    def listed(self) -> list[str]:
        """Return the names of all that is not a leftover."""
        return sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))

    def _place(self, version: str) -> Path:
        return self.path / version.removeprefix("sha256:")

    def _staged(self, version: str) -> Path:
        return self.path / f".{version.removeprefix('sha256:')}"

    def _rename(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        # Another writer was quicker: what it put there is the same, or it has moved what we meant to.
        except OSError:
            if not target.is_dir() and source.exists():
                raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)
