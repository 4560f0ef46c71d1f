"""The places a registry may be at: a folder, and a database of a real PostgreSQL server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.registry.postgresql import running

NewLocation = Callable[[Path], str]
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[NewLocation]:
    """Makes a new database with its files in a given folder, and returns its location."""
    with running() as server:
        address = server.replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(address.format(database="postgres"), isolation_level="AUTOCOMMIT")

        def new(folder: Path) -> str:
            name = f"registry_{next(_NUMBERS)}"
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            return f"{server.format(database=name)}&store={folder}"

        yield new
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_location(request: pytest.FixtureRequest) -> NewLocation:
    """Takes a folder that is not there yet; every test that asks runs on both databases."""
    if request.param == "sqlite":
        return str
    found: NewLocation = request.getfixturevalue("postgresql")
    return found


@pytest.fixture
def location(new_location: NewLocation, tmp_path: Path) -> str:
    return new_location(tmp_path / "registry")
