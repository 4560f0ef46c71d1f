"""Where a registry is: a folder, or a PostgreSQL database with a folder beside it for the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from descant.schema.errors import InvalidConfig

_CATALOGUE, _CONTENTS = "catalogue.sqlite", "contents"
_DATABASES = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class Location:
    """The catalogue's database and the folder of contents."""

    database: URL
    contents: Path

    @classmethod
    def parse(cls, text: str | Path) -> Location:
        """Read a folder's path, or ``postgresql://user@host/database?store=/folder``.

        Raises:
            InvalidConfig: another kind of URL, or one that does not say where files lie.
        """
        if "://" in str(text):
            return cls._of_url(str(text))
        folder = Path(text).absolute()
        return cls(URL.create("sqlite", database=str(folder / _CATALOGUE)), folder / _CONTENTS)

    @property
    def file(self) -> Path | None:
        """The catalogue's file; None where it is on a server."""
        name = self.database.database
        return Path(name) if self.database.drivername == "sqlite" and name else None

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file.parent)
        return self.database.set(drivername="postgresql").render_as_string(hide_password=True)

    @classmethod
    def _of_url(cls, text: str) -> Location:
        try:
            url = make_url(text)
        except ArgumentError as error:
            raise _refused("is not a URL that can be read") from error
        store = url.query.get("store")
        if url.drivername not in _DATABASES:
            raise _refused(f"begins with {url.drivername}://, which is not known")
        if not isinstance(store, str) or not Path(store).is_absolute():
            raise _refused("does not say in which folder adapters lie")
        database = url.set(drivername="postgresql+psycopg").difference_update_query(["store"])
        return cls(database, Path(store))


def _refused(reason: str) -> InvalidConfig:
    # The URL itself may hold a password.
    return InvalidConfig(
        f"The registry's address {reason}.",
        field="registry",
        remedy="Name a folder, or postgresql://user@host/database?store=/absolute/folder.",
    )
