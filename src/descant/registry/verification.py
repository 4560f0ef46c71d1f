"""Whether everything is as it was: every file, every alias and the whole audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, select

from descant.registry.audit import AuditEntry, histories, last_change, read_trail
from descant.registry.catalogue import Catalogue
from descant.registry.content import Content, FileDigest, read_digest
from descant.registry.content_store import ContentStore
from descant.registry.tables import CONTENTS, FILES
from descant.registry.version_record import VersionRecord, read_aliases, read_records


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was."""

    kind: Literal["missing", "damaged", "unknown", "catalogue"]
    where: str
    """A file, or an alias, or a number in the audit trail."""
    what: str


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what was found."""

    num_versions: int
    num_files: int
    num_bytes: int
    num_changes: int
    findings: tuple[Finding, ...]
    leftovers: tuple[str, ...]
    """What killed writers left, or living ones write: harmless."""
    removed: tuple[str, ...]
    """Leftovers that were removed before looking."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(store: ContentStore, catalogue: Catalogue, removed: Sequence[str]) -> Verification:
    """Read everything and compare."""
    # Listed before the catalogue is read: whatever is listed was known to it by then.
    listed, leftovers = store.listed(), [path.name for path in store.leftovers()]
    with catalogue.reading() as connection:
        contents = _contents(connection)
        records, trail = read_records(connection), read_trail(connection)
        doubts = list(_doubts(connection, contents, records, trail))
    findings = [Finding("catalogue", where, what) for where, what in doubts]
    for version, content in contents.items():
        findings += _compare(store.folder(version), content)
    known = {version.removeprefix("sha256:") for version in contents}
    findings += [
        Finding("unknown", str(store.path / name), "no version the catalogue knows")
        for name in listed
        if name not in known
    ]
    return Verification(
        num_versions=len(records),
        num_files=sum(len(content.files) for content in contents.values()),
        num_bytes=sum(content.num_bytes for content in contents.values()),
        num_changes=len(trail),
        findings=tuple(findings),
        leftovers=tuple(leftovers),
        removed=tuple(removed),
    )


def _contents(connection: Connection) -> dict[str, Content]:
    files: dict[str, list[FileDigest]] = {
        version: [] for version in connection.execute(select(CONTENTS.c.version)).scalars()
    }
    for row in connection.execute(select(FILES)):
        files[row.version].append(FileDigest(row.path, row.sha256, row.num_bytes))
    return {version: Content.of(found) for version, found in files.items()}


def _compare(folder: Path, content: Content) -> list[Finding]:
    found = []
    if not folder.is_dir():
        return [Finding("missing", str(folder), "the whole folder is missing")]
    for file in content.files:
        try:
            now = read_digest(folder, file.path)
        except FileNotFoundError:
            found.append(Finding("missing", str(folder / file.path), "the file is missing"))
        except OSError as error:
            found.append(Finding("damaged", str(folder / file.path), f"{error.strerror}"))
        else:
            if now != file:
                found.append(Finding("damaged", str(folder / file.path), "its hash is another"))
    return found + _strangers(folder, content)


def _strangers(folder: Path, content: Content) -> list[Finding]:
    known = {file.path for file in content.files}
    return [
        Finding("unknown", str(path), "the version has no such file")
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and path.relative_to(folder).as_posix() not in known
    ]


def _doubts(
    connection: Connection,
    contents: dict[str, Content],
    records: Sequence[VersionRecord],
    trail: Sequence[AuditEntry],
) -> Iterator[tuple[str, str]]:
    for version, content in contents.items():
        if content.version != version:
            yield version, "its files in the catalogue do not give its hash"
    if [entry.number for entry in trail] != list(range(1, last_change(connection) + 1)):
        yield "audit trail", "entries are missing"
    added = {(entry.name, entry.after) for entry in trail if entry.action in ("add", "import")}
    for record in records:
        if (record.name, record.version) not in added:
            yield record.full_name, "the audit trail does not know of it"
    yield from _alias_doubts(read_aliases(connection), trail)


def _alias_doubts(
    aliases: dict[tuple[str, str], str], trail: Sequence[AuditEntry]
) -> Iterator[tuple[str, str]]:
    meant: dict[tuple[str, str], str] = {}
    for entry in trail:
        if entry.alias is None or entry.after is None:
            continue
        key = entry.name, entry.alias
        if meant.get(key) != entry.before:
            yield f"audit trail {entry.number}", "does not begin where the entry before ended"
        meant[key] = entry.after
    replayed = {key: history[-1] for key, history in histories(trail).items() if history}
    for key in sorted(aliases.keys() | replayed.keys()):
        if not aliases.get(key) == replayed.get(key) == meant.get(key):
            yield "@".join(key), "does not mean what the audit trail says"
