"""The registry's database: SQLite in a file, or PostgreSQL, through the same statements.

Writers go one after the other; what a reader sees in one transaction is of one moment. A connection
lives as long as its transaction: nothing is left open between two, in a server or behind a fork.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from descant.registry.folder_lock import folder_lock
from descant.registry.location import Location
from descant.registry.tables import FORMAT_VERSION, STATE, create_tables
from descant.schema.errors import (
    CatalogueUnavailable,
    DescantError,
    MissingDependency,
    RegistryNotFound,
    StorageFull,
)

_WAIT_S = 60
"""How long a writer waits for those before it."""
_MAKING = 0x6465_7363_616E_74
"""Whoever makes the tables holds the advisory lock of this number."""


class Catalogue:
    """One database, opened; may be used from many threads."""

    def __init__(self, engine: Engine, location: Location):
        self._engine = engine
        self._location = location

    @classmethod
    def open(cls, location: Location, *, creates: bool = False) -> Catalogue:
        """Open a catalogue that is there, or make it if need be.

        Raises:
            RegistryNotFound: there is none, and none was to be made.
            CatalogueUnavailable: the database does not answer.
            MissingDependency: PostgreSQL is asked for and its driver is not installed.
        """
        if location.file is not None and not creates and not location.file.is_file():
            raise _no_registry(location)
        catalogue = cls(_engine(location), location)
        if creates:
            catalogue._create()
        catalogue._check_format()
        return catalogue

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment.

        Raises:
            CatalogueUnavailable: the database does not answer.
        """
        with self._reported(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Give a connection whose changes all come true at the end, or none; one writer at a time.

        Raises:
            CatalogueUnavailable: the database does not answer, or others write for too long.
            StorageFull: nothing was changed.
        """
        with self._reported(), self._engine.connect() as connection:
            connection = connection.execution_options(descant_writes=True)
            with connection.begin():
                connection.execute(select(STATE.c.last_change).with_for_update())
                yield connection

    def _create(self) -> None:
        if self._location.file is None:
            self._create_tables()
            return
        folder = self._location.file.parent
        folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder), self._reported():
            with self._engine.connect() as connection:
                # Kept in the file: readers never wait for a writer.
                connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
            self._create_tables()

    def _create_tables(self) -> None:
        with self._reported(), self._engine.connect() as connection:
            connection = connection.execution_options(descant_writes=True)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MAKING})")
                if not inspect(connection).has_table(STATE.name):
                    create_tables(connection)
                    connection.execute(insert(STATE).values(format=FORMAT_VERSION, last_change=0))

    def _check_format(self) -> None:
        with self.reading() as connection:
            if not inspect(connection).has_table(STATE.name):
                raise _no_registry(self._location)
            found = connection.execute(select(STATE.c.format)).scalar_one()
        if found != FORMAT_VERSION:
            raise RegistryNotFound(
                f"{self._location} has format {found}, not {FORMAT_VERSION}.",
                field="registry",
                remedy="Use the version of Descant that made it, or a newer one.",
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise self._unavailable(error.orig) from error
        except DatabaseError as error:
            # Its kinds are our own bugs; the plain one is a file that is no database.
            if type(error) is not DatabaseError:
                raise
            raise self._unavailable(error.orig) from error

    def _unavailable(self, reason: BaseException | None) -> DescantError:
        said = str(reason).strip().splitlines()[:1]
        if "disk is full" in str(reason):
            return StorageFull(
                f"The disk is full: {self._location} was not changed.",
                field="registry",
                remedy="Free some space and try again.",
            )
        return CatalogueUnavailable(
            f"The catalogue at {self._location} does not answer: {''.join(said)}.",
            field="registry",
            remedy="See that the database runs and may be reached and written, and try again.",
        )


def _engine(location: Location) -> Engine:
    if location.file is None:
        try:
            return create_engine(location.database, poolclass=NullPool)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "PostgreSQL needs the Python package psycopg.",
                remedy="Install it: pip install 'descant[postgres]'",
            ) from error
    engine = create_engine(location.database, connect_args={"timeout": _WAIT_S}, poolclass=NullPool)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions late, and for writers as readers; we say BEGIN ourselves.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("descant_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _no_registry(location: Location) -> RegistryNotFound:
    return RegistryNotFound(
        f"There is no registry at {location}.",
        field="registry",
        remedy="Name one with --registry or DESCANT_REGISTRY; descant registry add makes one.",
    )
