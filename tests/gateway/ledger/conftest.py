"""Books at both kinds of places, in memory where the system offers that: each test syncs often."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NewPlace = Callable[[Path], str]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def new_database_place(postgresql: NewPlace) -> NewPlace:
    """Takes a folder for what waits; returns the address of a new database."""
    return lambda folder: postgresql(folder).replace("&store=", "&waiting=")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "usage.sqlite")
    new: NewPlace = request.getfixturevalue("new_database_place")
    return new(tmp_path / "waiting")
