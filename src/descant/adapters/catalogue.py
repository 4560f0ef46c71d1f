"""Which adapters there are: names, and the versions of each, the current one last.

A version is a folder and what is known of it, no weights: thousands of them take a few megabytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from descant.adapters.adapter_name import AdapterName
from descant.adapters.folder_content import FolderContent
from descant.registry import AdapterEntry, calibration_of
from descant.schema import Calibration
from descant.schema.errors import AdapterNotFound

_HASH_LENGTH = len("sha256:") + 64


@dataclass(eq=False, slots=True)
class Version:
    """One version of a name."""

    folder: Path
    content_hash: str | None = None
    is_read: bool = False
    """Whether the hash is that of the weights, rather than what the manifest says or nothing."""
    labels: tuple[str, ...] | None = None
    calibration: Calibration | None = None
    last_used_s: float | None = None
    release: str | None = None
    """What a registry calls it: ``sha256:…`` over all of its files."""
    by_hash_only: bool = False
    """Whether the bare name never means it."""

    @classmethod
    def of(cls, entry: AdapterEntry) -> Version:
        """Return the version that lies in a folder, as its manifest tells, without reading weights."""
        # Links are followed now: a link that points elsewhere later is no new version by itself.
        version = cls(entry.path.resolve())
        if entry.manifest is not None:
            version.labels = tuple(entry.manifest.indicator["labels"])
            version.calibration = calibration_of(entry.manifest)
            version.content_hash = whole_hash(entry.manifest.content_hash)
        return version

    def is_called(self, digits: str, content_hash: str | None = None) -> bool:
        """Return whether its hash, the given one if one is given, or its release begins like this."""
        known = (content_hash or self.content_hash, self.release)
        return any(whole.startswith(digits) for whole in known if whole)

    @property
    def read_hash(self) -> str | None:
        """The hash of its weights, once they have been read."""
        return self.content_hash if self.is_read else None

    def note(self, content: FolderContent) -> None:
        """Take down what the folder was found to hold."""
        self.content_hash, self.is_read = content.adapter.content_hash, True
        self.labels, self.calibration = content.labels, content.calibration

    def answers_like(self, other: Version) -> bool:
        """Return whether weights and calibration are the same."""
        return (self.content_hash, self.calibration) == (other.content_hash, other.calibration)


class Catalogue:
    """The versions of every name.

    Not for several threads at once: the library holds its lock around every call.
    """

    def __init__(self) -> None:
        self._versions: dict[str, list[Version]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._versions

    def __iter__(self) -> Iterator[tuple[str, Version]]:
        for name in sorted(self._versions):
            for version in self._versions[name]:
                yield name, version

    def names(self) -> list[str]:
        """Return every name."""
        return list(self._versions)

    def holds(self, name: str, version: Version) -> bool:
        """Return whether this is still a version of the name."""
        return version in self._versions.get(name, ())

    def is_current(self, name: str, version: Version) -> bool:
        """Return whether the bare name means this version."""
        return self._versions[name][-1] is version and not version.by_hash_only

    def find(self, asked: AdapterName) -> Version | None:
        """Return the version that is meant, or None.

        Asked for a hash that none is known to have, it is one whose hash is not known yet.

        Raises:
            AdapterNotFound: several versions begin with what was asked for.
        """
        versions = self._versions.get(asked.name, [])
        if asked.version is None:
            return versions[-1] if versions and not versions[-1].by_hash_only else None
        known = [v for v in versions if v.is_called(asked.version)]
        if len({v.content_hash for v in known}) > 1:
            raise _ambiguous(asked, known)
        unknown = [v for v in versions if v.content_hash is None]
        # Of releases with the same weights, the later one.
        return next(iter(known[::-1] + unknown), None)

    def release(self, name: str, release: str) -> Version | None:
        """Return the version of a name that a registry calls so."""
        found = (v for v in self._versions.get(name, ()) if v.release == release)
        return next(found, None)

    def offer(self, name: str, version: Version) -> None:
        """Let a version be reached by its hash; what the bare name means stays."""
        version.by_hash_only = True
        self._versions.setdefault(name, []).insert(0, version)

    def make_current(self, name: str, version: Version) -> None:
        """Let a name, new or not, mean this version; an older one of the same content goes."""
        others = [v for v in self._versions.get(name, ()) if v is not version]
        version.by_hash_only = False
        self._versions[name] = [*others, version]
        self.drop_doubles(name)

    def drop_doubles(self, name: str) -> None:
        """Keep one version of each content, the later one; for after a hash became known.

        Releases stay beside each other: they may differ in more than their weights.
        """
        versions = self._versions[name]
        last = {(v.content_hash, v.release): v for v in versions}
        self._versions[name] = [
            v for v in versions if v.content_hash is None or v is last[v.content_hash, v.release]
        ]

    def remove(self, asked: AdapterName) -> list[Version]:
        """Remove a version, or a name with all of them, and return what was removed."""
        versions = self._versions.pop(asked.name, [])
        if asked.version is None:
            return versions
        kept = [v for v in versions if v.content_hash != asked.version]
        if kept:
            self._versions[asked.name] = kept
        return [v for v in versions if v not in kept]

    def refers_to(self, content_hash: str | None) -> bool:
        """Return whether any version has this content."""
        return any(version.content_hash == content_hash for _, version in self)


def whole_hash(told: str | None) -> str | None:
    """Return a hash a manifest told, unless it is the beginning of one, which names no version."""
    return told if told is not None and len(told) == _HASH_LENGTH else None


def not_found(asked: AdapterName, names: Iterable[str]) -> AdapterNotFound:
    """Return the error for a name or version that is not there, with what may have been meant."""
    name = asked.name[:100]
    names = list(names)
    if asked.name in names and asked.version is None:
        return AdapterNotFound(
            f"Adapter {name!r} has versions, and none is its champion.",
            field="adapter",
            remedy="Promote one: descant promote; or ask for one by its hash.",
        )
    if asked.name in names:
        return AdapterNotFound(
            f"Adapter {name!r} has no version {asked.version}.",
            field="adapter",
            remedy="It may have been unregistered, or its folder now holds other weights.",
        )
    close = difflib.get_close_matches(name, names)
    remedy = f"Did you mean {' or '.join(map(repr, close))}?" if close else None
    return AdapterNotFound(
        f"No adapter {name!r}.",
        field="adapter",
        remedy=remedy or "List the adapters there are, or register its folder.",
    )


def _ambiguous(asked: AdapterName, versions: list[Version]) -> AdapterNotFound:
    meant = " and ".join(str(version.content_hash) for version in versions)
    return AdapterNotFound(
        f"Adapter version {asked} can be {meant}.", field="adapter", remedy="Give more digits."
    )
