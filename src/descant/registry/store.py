"""Adapter folders on disk: which there are, and which one a name means.

An adapter is a folder with ``adapter_config.json`` in it. Writers build it under a name that starts
with a dot and rename it when it is whole, so such names are never listed and never resolved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.registry.manifest import MANIFEST_FILE, Manifest, read_manifest
from descant.schema.errors import AdapterNotFound, InvalidAdapter

CONFIG_FILE = "adapter_config.json"


@dataclass(frozen=True)
class AdapterEntry:
    """One adapter folder."""

    name: str
    path: Path
    manifest: Manifest | None
    """None when it has none, as adapters made elsewhere do, or when it cannot be read."""
    problem: str | None = None
    """Why the manifest cannot be read."""


def find_adapters(folder: Path) -> list[AdapterEntry]:
    """Return the adapters directly in `folder`, by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [_entry(path) for path in sorted(folder.iterdir()) if _is_adapter(path)]


def resolve_adapter(name_or_path: str, search: Sequence[Path]) -> Path:
    """Return the folder of an adapter.

    A bare name is looked up in `search`, in that order, then beside the current folder; anything
    with a path separator in it is a path. Never call it with a name from the network: list with
    `find_adapters` and compare.

    Raises:
        AdapterNotFound: names every place that was looked at.
    """
    places = [Path(name_or_path)] if name_or_path else []
    if _is_bare_name(name_or_path):
        places = [folder / name_or_path for folder in search] + places
    for place in places:
        if _is_adapter(place):
            return place
    raise _not_found(name_or_path, places)


def _entry(path: Path) -> AdapterEntry:
    if not (path / MANIFEST_FILE).exists():
        return AdapterEntry(path.name, path, None)
    try:
        return AdapterEntry(path.name, path, read_manifest(path))
    except InvalidAdapter as error:
        return AdapterEntry(path.name, path, None, problem=str(error))


def _is_adapter(path: Path) -> bool:
    # os.path says no where Path raises: for names that no file can have.
    is_folder = os.path.isfile(path / CONFIG_FILE)
    return is_folder and not path.resolve().name.startswith(".")


def _is_bare_name(name: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return not name.startswith(".") and not any(separator in name for separator in separators)


def _not_found(name: str, places: Sequence[Path]) -> AdapterNotFound:
    searched = ", ".join(str(place) for place in places) or "no place"
    incomplete = [place for place in places if os.path.isdir(place)]
    because = f" {incomplete[0]} has no {CONFIG_FILE}." if incomplete else ""
    return AdapterNotFound(
        f"No adapter {name!r}; looked at {searched}.{because}",
        field="adapter",
        remedy="List the adapters there are with: descant adapters.",
    )
