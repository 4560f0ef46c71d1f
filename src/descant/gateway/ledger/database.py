"""The books' database: SQLite in a file, or PostgreSQL, through the same statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Literal, Self

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, InterfaceError

from descant.gateway.ledger.place import LedgerPlace
from descant.gateway.ledger.tables import SPENT, USAGE, append_statement, create_tables
from descant.schema.errors import InvalidConfig, LedgerUnavailable, MissingDependency

Scope = Literal["tenant", "key"]

_BUSY_S = 10
"""How long SQLite waits for other writers."""
_MAKING = 0x6465_7363_6C64_67
"""Whoever makes the tables holds the advisory lock of this number."""
# A server that is gone without a word is given up, and what was to be written waits.
_POSTGRESQL = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=20000",
}


class RowsRefused(Exception):
    """The database is there and does not take one of these rows."""


class LedgerDatabase:
    """One database, opened; may be used from many threads."""

    def __init__(self, place: LedgerPlace):
        self._place = place
        self._engine = _engine(place)
        self._append = text(append_statement(self._engine.dialect.name))
        self._is_made = False

    @classmethod
    def existing(cls, place: LedgerPlace) -> Self:
        """Open books that are there.

        Raises:
            InvalidConfig: there are none.
            LedgerUnavailable: the database does not answer.
            MissingDependency: PostgreSQL is asked for and its driver is not installed.
        """
        if place.file is not None and not place.file.is_file():
            raise _no_ledger(place)
        database = cls(place)
        with database.reading() as connection:
            if not inspect(connection).has_table(USAGE.name):
                raise _no_ledger(place)
        return database

    def make(self) -> None:
        """Make the tables, once, if they are not there.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        # Not on opening: a gateway starts whether or not its database is there.
        if not self._is_made:
            with self._reported():
                self._make()
            self._is_made = True

    def append(self, lines: bytes) -> None:
        """Add rows, a JSON object a line; all of them or none; those there are passed over.

        Raises:
            LedgerUnavailable: the database does not answer.
            RowsRefused: it does not take one of the rows.
        """
        rows = b"[" + lines.rstrip(b"\n").replace(b"\n", b",") + b"]"
        with self._reported(), self._engine.begin() as connection:
            connection.execute(self._append, {"rows": rows.decode()})

    def spent(self, since: date) -> dict[tuple[Scope, str], int]:
        """Return the billionths that each tenant and key spent from that UTC day's beginning on.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        total = func.sum(SPENT.c.money_nano)
        query = (
            select(SPENT.c.scope, SPENT.c.name, total)
            .where(SPENT.c.day >= since.isoformat())
            .group_by(SPENT.c.scope, SPENT.c.name)
        )
        with self._reported(), self._engine.begin() as connection:
            rows = connection.execute(query).all()
        return {(scope, name): int(nano) for scope, name, nano in rows}

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        with self._reported(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _make(self) -> None:
        if self._place.file is not None:
            with self._engine.connect() as connection:
                # Kept in the file: readers never wait for a writer.
                connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
        with self._engine.connect() as connection:
            connection = connection.execution_options(descant_writes=True)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MAKING})")
                if not inspect(connection).has_table(USAGE.name):
                    create_tables(connection)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError) as error:
            raise RowsRefused(_said(error.orig)) from error
        except (DatabaseError, InterfaceError) as error:
            self._is_made = False
            # What else a database says (locked, full, gone, no rights) may be over later.
            raise LedgerUnavailable(
                f"The ledger at {self._place} does not answer: {_said(error.orig)}.",
                field="ledger",
                remedy="See that the database runs and may be reached and written.",
            ) from error


def _engine(place: LedgerPlace) -> Engine:
    if place.file is None:
        try:
            return create_engine(
                place.database, connect_args=_POSTGRESQL, pool_size=1, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "PostgreSQL needs the Python package psycopg.",
                remedy="Install it: pip install 'descant[postgres]'",
            ) from error
    arguments = {"timeout": _BUSY_S, "check_same_thread": False}
    engine = create_engine(place.database, connect_args=arguments)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions late; we say BEGIN ourselves.
    connection.isolation_level = None
    # A kill takes nothing that was committed even with NORMAL; a power cut would. Five syncs a second
    # off the request path are a small price for books.
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("descant_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _said(reason: BaseException | None) -> str:
    return "".join(str(reason).strip().splitlines()[:1])


def _no_ledger(place: LedgerPlace) -> InvalidConfig:
    return InvalidConfig(
        f"There are no books at {place}.",
        field="ledger",
        remedy="Name what the gateway file says under [state] ledger.",
    )
