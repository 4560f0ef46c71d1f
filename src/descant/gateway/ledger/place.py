"""Where the books are: an SQLite file or a PostgreSQL database, and a folder for what waits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from descant.schema.errors import InvalidConfig

_DATABASES = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class LedgerPlace:
    """The database, and the local folder of records that are not in it yet."""

    database: URL
    waiting: Path | None

    @classmethod
    def parse(cls, text: str) -> LedgerPlace:
        """Read a file's path, or ``postgresql://user@host/database?waiting=/folder``.

        Whoever only reads the books needs no folder.

        Raises:
            InvalidConfig: another kind of URL, or a folder that is not absolute.
        """
        if "://" in text:
            return cls._of_url(text)
        file = Path(text).absolute()
        return cls(URL.create("sqlite", database=str(file)), file.with_name(f"{file.name}.waiting"))

    @property
    def file(self) -> Path | None:
        """The database's file; None where it is on a server."""
        name = self.database.database
        return Path(name) if self.database.drivername == "sqlite" and name else None

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        return self.database.set(drivername="postgresql").render_as_string(hide_password=True)

    @classmethod
    def _of_url(cls, text: str) -> LedgerPlace:
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise refused_place("is not a URL that can be read") from error
        if url.drivername not in _DATABASES:
            raise refused_place(f"begins with {url.drivername}://, which is not known")
        waiting = url.query.get("waiting")
        if waiting is not None and not (isinstance(waiting, str) and Path(waiting).is_absolute()):
            raise refused_place("names a folder for waiting records that is not absolute")
        database = url.set(drivername="postgresql+psycopg").difference_update_query(["waiting"])
        return cls(database, None if waiting is None else Path(waiting))


def refused_place(reason: str) -> InvalidConfig:
    """Return the error for an address that cannot be used; the URL itself may hold a password."""
    return InvalidConfig(
        f"The ledger's address {reason}.",
        field="ledger",
        remedy="Name a file, or postgresql://user@host/database?waiting=/absolute/folder.",
    )
