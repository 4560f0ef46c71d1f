"""The registry: every version of every adapter, what its aliases mean, and who decided so.

Files lie in a `ContentStore`, everything else in a `Catalogue`. Each change is one transaction with
its entry in the audit trail, so that a kill at any point, and any number of writers at once, leave
aliases and trail agreeing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, select

from descant.registry.accepted_files import accepted_files, check_files
from descant.registry.alias import AliasChange, Expected, point, step_back
from descant.registry.audit import AuditEntry, Reason, append, last_change, read_trail
from descant.registry.catalogue import Catalogue
from descant.registry.content import Content, FileDigest, read_content, write_file
from descant.registry.content_store import ContentStore
from descant.registry.evaluation import Evaluation, attach_evaluation, read_evaluations
from descant.registry.lineage import Lineage, read_lineage
from descant.registry.location import Location
from descant.registry.manifest import Manifest
from descant.registry.parcel import read_parcel, write_parcel
from descant.registry.tables import FILES
from descant.registry.verification import Verification, verify
from descant.registry.version_name import CHAMPION, check_alias, check_name
from descant.registry.version_record import (
    VersionRecord,
    add_content,
    add_version,
    find_version,
    is_content,
    read_aliases,
    read_records,
)
from descant.schema.errors import InvalidAdapter


@dataclass(frozen=True)
class Moment:
    """All that a server needs to know of a registry, as it was after one change."""

    change: int
    """The number of that change in the audit trail."""
    records: tuple[VersionRecord, ...]
    aliases: Mapping[tuple[str, str], str]
    """The version, by name and alias."""


class Registry:
    """One registry; its methods may be called from many threads and processes at once."""

    def __init__(
        self,
        location: str | Path,
        *,
        user: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        creates: bool = False,
    ):
        """Open a registry in a folder or at a URL, see `Location`, or make it if need be.

        `user` and `now` are what the audit trail says of every change.

        Raises:
            RegistryNotFound: there is none, and none was to be made.
            CatalogueUnavailable: its database does not answer.
            InvalidConfig: the location cannot be understood.
            MissingDependency: its database needs a driver that is not installed.
        """
        self.location = Location.parse(location)
        self._user, self._now = user, now
        self._catalogue = Catalogue.open(self.location, creates=creates)
        self._store = ContentStore(self.location.contents)
        self._store.make()

    def add(self, folder: Path, name: str | None = None, *, reason: str = "added") -> VersionRecord:
        """Copy an adapter folder into the registry; what is there already stays as it is.

        The name is the folder's where none is given.

        Raises:
            AdapterNotFound: there is no such folder.
            InvalidAdapter: a file in it is not accepted or is wrong; names it.
            InvalidConfig: the name cannot be one.
        """
        chosen = folder.resolve().name if name is None else name
        check_name(chosen)
        paths = accepted_files(folder)
        self._sweep(waits=False)
        with self._store.adding() as building:
            return self._keep(building, chosen, _copy(folder, paths, building), "add", reason)

    def import_parcel(
        self, path: Path, name: str | None = None, *, reason: str = "imported"
    ) -> VersionRecord:
        """Take in an adapter that `export` wrote, under its name there or another.

        Raises:
            InvalidAdapter: the file is damaged, or holds what it should not; names it.
            InvalidConfig: the name cannot be one.
        """
        self._sweep(waits=False)
        with self._store.adding() as building:
            index = read_parcel(path, building)
            chosen = index.name if name is None else name
            check_name(chosen)
            return self._keep(building, chosen, index.content, "import", reason)

    def export(self, name: str, path: Path) -> VersionRecord:
        """Write one version as one file.

        Raises:
            AdapterNotFound: there is no such version.
            InvalidAdapter: its files are damaged; nothing is written.
        """
        record = self.record(name)
        with self._catalogue.reading() as connection:
            content = _content_of(connection, record.version)
        folder = self.folder(record.version)
        if not folder.is_dir() or read_content(folder) != content:
            raise InvalidAdapter(
                f"{record.full_name} is damaged.",
                field="version",
                remedy="See what is wrong with descant registry verify, and add it again.",
            )
        write_parcel(path, record.name, folder, content)
        return record

    def attach(self, name: str, evidence: Any, *, reason: str) -> Evaluation:
        """Keep what was measured of a version beside it.

        Raises:
            AdapterNotFound: there is no such version.
            InvalidConfig: the evidence is not JSON.
        """
        why = self._reason(reason)
        with self._changing_version(name) as (connection, record_name, version):
            return attach_evaluation(connection, record_name, version, evidence, why)

    def promote(
        self,
        name: str,
        alias: str = CHAMPION,
        *,
        reason: str,
        evidence: Any = None,
        forced_reason: str | None = None,
        expected: Expected = ...,
    ) -> AliasChange:
        """Let an alias mean the version that `name` means (``name@alias``, ``name@sha256:…``).

        `evidence` is JSON and `forced_reason` why it is done in spite of it; both are kept in the
        audit trail. `expected` is the version that the alias was seen to mean when this was decided
        (None: nothing yet), so that a decision never overwrites one it did not know of.

        Raises:
            AdapterNotFound: there is no such version.
            AliasMoved: the alias does not mean `expected`; nothing was changed.
            InvalidConfig: the alias cannot be one, or a reason is missing.
        """
        check_alias(alias)
        why = self._reason(reason, evidence, forced_reason)
        with self._changing_version(name) as (connection, record_name, version):
            return point(connection, record_name, alias, version, why, expected)

    def rollback(
        self, name: str, alias: str = CHAMPION, *, reason: str, expected: Expected = ...
    ) -> AliasChange:
        """Let an alias mean what it meant before it was last promoted.

        Raises:
            NothingToRollBack: it never meant anything else, or there is no such alias.
            AliasMoved: the alias does not mean `expected`; nothing was changed.
        """
        why = self._reason(reason)
        with self._catalogue.changing() as connection:
            return step_back(connection, name, alias, why, expected)

    def records(self, name: str | None = None) -> list[VersionRecord]:
        """Return all versions, or those of one name, the one added first first."""
        with self._catalogue.reading() as connection:
            return read_records(connection, name)

    def record(self, name: str) -> VersionRecord:
        """Return the version that ``name``, ``name@alias`` or ``name@sha256:…`` means.

        Raises:
            AdapterNotFound: there is none, or there are several.
        """
        with self._catalogue.reading() as connection:
            return _record(connection, name)

    def lineage(self, name: str) -> Lineage:
        """Return what a version was trained on from, and what was trained on from it.

        Raises:
            AdapterNotFound: there is no such version.
        """
        with self._catalogue.reading() as connection:
            return read_lineage(_record(connection, name), read_records(connection))

    def evaluations(self, name: str) -> list[Evaluation]:
        """Return what was measured of a version, the oldest first.

        Raises:
            AdapterNotFound: there is no such version.
        """
        with self._catalogue.reading() as connection:
            return read_evaluations(connection, _record(connection, name))

    def log(self, name: str | None = None, alias: str | None = None) -> list[AuditEntry]:
        """Return the audit trail, or the part about one name or alias, the oldest entry first."""
        with self._catalogue.reading() as connection:
            return read_trail(connection, name, alias)

    def last_change(self) -> int:
        """Return the number of the last change; one small row is read."""
        with self._catalogue.reading() as connection:
            return last_change(connection)

    def moment(self) -> Moment:
        """Return all versions and aliases as they are now, and the number of the last change."""
        with self._catalogue.reading() as connection:
            change, aliases = last_change(connection), read_aliases(connection)
            return Moment(change, tuple(read_records(connection)), aliases)

    def folder(self, version: str) -> Path:
        """Return the folder of a version that the registry knows; nobody may write in it."""
        return self._store.folder(version)

    def verify(self, *, cleans: bool = False) -> Verification:
        """Read every file again and compare it, the aliases and the audit trail with what they were.

        `cleans` removes what killed writers left, once nobody is adding.
        """
        removed = self._sweep(waits=True) if cleans else []
        return verify(self._store, self._catalogue, removed)

    def _keep(
        self,
        building: Path,
        name: str,
        content: Content,
        action: Literal["add", "import"],
        reason: str,
    ) -> VersionRecord:
        manifest = check_files(building, [file.path for file in content.files])
        why = self._reason(reason)
        self._store.stage(building, content)
        with self._catalogue.changing() as connection:
            record = _note(connection, name, content, manifest, action, why)
        self._store.settle(content.version)
        return record

    def _reason(self, why: str, evidence: Any = None, forced: str | None = None) -> Reason:
        return Reason(self._now().isoformat(), self._user, why, evidence, forced)

    def _sweep(self, *, waits: bool) -> list[str]:
        def is_known(version: str) -> bool:
            with self._catalogue.reading() as connection:
                return is_content(connection, version)

        return self._store.sweep(is_known, waits=waits)

    @contextmanager
    def _changing_version(self, name: str) -> Iterator[tuple[Connection, str, str]]:
        with self._catalogue.changing() as connection:
            yield connection, name.partition("@")[0], find_version(connection, name)


def _copy(folder: Path, paths: list[str], building: Path) -> Content:
    digests = []
    for path in paths:
        with (folder / path).open("rb") as source:
            digests.append(write_file(source, building, path))
    return Content.of(digests)


def _note(
    connection: Connection,
    name: str,
    content: Content,
    manifest: Manifest | None,
    action: Literal["add", "import"],
    why: Reason,
) -> VersionRecord:
    add_content(connection, content, manifest)
    if add_version(connection, name, content.version, why.at):
        append(connection, action, name, why, versions=(None, content.version))
    return _record(connection, f"{name}@{content.version}")


def _record(connection: Connection, name: str) -> VersionRecord:
    version = find_version(connection, name)
    records = read_records(connection, name.partition("@")[0])
    return next(record for record in records if record.version == version)


def _content_of(connection: Connection, version: str) -> Content:
    wanted = select(FILES.c.path, FILES.c.sha256, FILES.c.num_bytes)
    rows = connection.execute(wanted.where(FILES.c.version == version)).mappings()
    return Content.of(FileDigest(**row) for row in rows)
