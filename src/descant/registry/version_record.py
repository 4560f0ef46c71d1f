"""The versions of a name as the catalogue knows them, and how one is found by what it is called."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, insert, select

from descant.registry.alias import meaning
from descant.registry.content import Content
from descant.registry.manifest import Manifest
from descant.registry.tables import ADAPTERS, ALIASES, CONTENTS, FILES, VERSIONS
from descant.registry.version_name import CHAMPION, VersionName
from descant.schema.errors import AdapterNotFound


@dataclass(frozen=True)
class VersionRecord:
    """One version of one name."""

    name: str
    version: str
    """``sha256:…`` over every file of it."""
    added_at: str
    num_bytes: int
    weights_hash: str | None
    """What the engine knows its weights by; None without a manifest."""
    parent: str | None
    """The weights that training started from."""
    manifest: Mapping[str, Any] | None
    """What it was made of; None for an adapter made elsewhere."""
    aliases: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """``name@sha256:…``."""
        return f"{self.name}@{self.version}"


def read_records(connection: Connection, name: str | None = None) -> list[VersionRecord]:
    """Return all versions, or those of one name, the one added first first."""
    wanted = _joined().order_by(VERSIONS.c.name, VERSIONS.c.added_at, VERSIONS.c.version)
    if name is not None:
        wanted = wanted.where(VERSIONS.c.name == name)
    rows = connection.execute(wanted).mappings().all()
    aliases = read_aliases(connection)
    return [_record(row, aliases) for row in rows]


def read_aliases(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the version each alias means, by name and alias."""
    rows = connection.execute(select(ALIASES).order_by(ALIASES.c.name, ALIASES.c.alias))
    return {(row.name, row.alias): row.version for row in rows}


def find_version(connection: Connection, text: str, usual: str = CHAMPION) -> str:
    """Return the version that is meant; a bare name means its alias `usual`, or its only version.

    Raises:
        AdapterNotFound: there is none, or there are several; says what may have been meant.
    """
    asked = VersionName.parse(text)
    known = versions_of(connection, asked.name)
    if not known:
        raise _no_adapter(connection, asked.name)
    if asked.digits is not None:
        return _by_digits(asked.name, asked.digits, known)
    found = meaning(connection, asked.name, asked.alias or usual)
    if found is None and asked.alias is None and len(known) == 1:
        return next(iter(known))
    if found is None:
        raise AdapterNotFound(
            f"Adapter {asked.name!r} has no {asked.alias or usual}.",
            field="adapter",
            remedy=f"Promote a version, or name it: descant registry show {asked.name}.",
        )
    return found


def versions_of(connection: Connection, name: str) -> dict[str, str | None]:
    """Return the versions of a name, each with the hash of its weights."""
    wanted = select(VERSIONS.c.version, CONTENTS.c.weights_hash).join(CONTENTS)
    rows = connection.execute(wanted.where(VERSIONS.c.name == name))
    return {row.version: row.weights_hash for row in rows}


def add_content(connection: Connection, content: Content, manifest: Manifest | None) -> None:
    """Take down what a content is made of; one that is known stays."""
    version = content.version
    if connection.execute(_of_content(version)).first() is not None:
        return
    row = {
        "version": version,
        "num_bytes": content.num_bytes,
        "manifest": None if manifest is None else dict(vars(manifest)),
        "weights_hash": manifest and manifest.content_hash,
        "parent": manifest and manifest.parent,
    }
    connection.execute(insert(CONTENTS).values(row))
    files = [{"version": version, **vars(file)} for file in content.files]
    connection.execute(insert(FILES), files)


def add_version(connection: Connection, name: str, version: str, added_at: str) -> bool:
    """Take a content down as a version of a name, and return whether it is new."""
    known = versions_of(connection, name)
    if version in known:
        return False
    if not known:
        connection.execute(insert(ADAPTERS).values(name=name))
    row = {"name": name, "version": version, "added_at": added_at}
    connection.execute(insert(VERSIONS).values(row))
    return True


def is_content(connection: Connection, version: str) -> bool:
    """Return whether the catalogue knows a content."""
    return connection.execute(_of_content(version)).first() is not None


def _of_content(version: str) -> Select[tuple[str]]:
    return select(CONTENTS.c.version).where(CONTENTS.c.version == version)


def _joined() -> Select[Any]:
    content = [column for column in CONTENTS.c if column.name != "version"]
    return select(VERSIONS, *content).join(CONTENTS)


def _record(row: RowMapping, aliases: Mapping[tuple[str, str], str]) -> VersionRecord:
    mine = [
        alias
        for (name, alias), version in aliases.items()
        if (name, version) == (row["name"], row["version"])
    ]
    return VersionRecord(**row, aliases=tuple(mine))


def _by_digits(name: str, digits: str, known: Mapping[str, str | None]) -> str:
    found = [
        version
        for version, weights in known.items()
        if version.startswith(digits) or (weights or "").startswith(digits)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise AdapterNotFound(
            f"{name}@{digits} can be {' and '.join(sorted(found))}.",
            field="adapter",
            remedy="Give more digits, of the version rather than of its weights.",
        )
    raise AdapterNotFound(
        f"Adapter {name!r} has no version {digits}.",
        field="adapter",
        remedy=f"List its versions: descant registry show {name}.",
    )


def _no_adapter(connection: Connection, name: str) -> AdapterNotFound:
    names = connection.execute(select(ADAPTERS.c.name)).scalars().all()
    close = difflib.get_close_matches(name, names)
    remedy = f"Did you mean {' or '.join(map(repr, close))}?" if close else None
    return AdapterNotFound(
        f"No adapter {name[:128]!r} in the registry.",
        field="adapter",
        remedy=remedy or "List what there is: descant registry list.",
    )
