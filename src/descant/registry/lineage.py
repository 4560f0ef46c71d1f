"""What a version was trained on from, and what was trained on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from descant.registry.version_record import VersionRecord


@dataclass(frozen=True)
class Ancestor:
    """Weights that training started from."""

    weights_hash: str
    known_as: tuple[str, ...]
    """The versions with these weights, as ``name@sha256:…``; none where the registry has none."""


@dataclass(frozen=True)
class Lineage:
    """The family of one version."""

    ancestors: tuple[Ancestor, ...]
    """Its parent first."""
    children: tuple[str, ...]
    """``name@sha256:…`` of what was trained on from its weights."""


def read_lineage(record: VersionRecord, records: Sequence[VersionRecord]) -> Lineage:
    """Return the family of a version among all there are."""
    children = [
        other.full_name
        for other in records
        if record.weights_hash is not None and other.parent == record.weights_hash
    ]
    return Lineage(tuple(_ancestors(record, records)), tuple(children))


def _ancestors(record: VersionRecord, records: Sequence[VersionRecord]) -> list[Ancestor]:
    found: list[Ancestor] = []
    parent = record.parent
    # Nothing keeps manifests from naming each other in a circle.
    while parent is not None and parent not in [one.weights_hash for one in found]:
        known = [other for other in records if other.weights_hash == parent]
        found.append(Ancestor(parent, tuple(other.full_name for other in known)))
        parent = known[0].parent if known else None
    return found
