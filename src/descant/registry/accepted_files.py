"""Which files an adapter in the registry may have: weights as safetensors, settings as JSON, a text.

Nothing that could carry code is taken in, whatever it is called: a file of weights is opened and its
header checked before it counts as one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from descant.registry.manifest import MANIFEST_FILE, Manifest, read_manifest
from descant.registry.store import CONFIG_FILE
from descant.schema.errors import AdapterNotFound, InvalidAdapter

WEIGHTS_FILE = "adapter_model.safetensors"
_READER = "reader"
_SUFFIXES = (".safetensors", ".json", ".md")
_NEEDED = (CONFIG_FILE, WEIGHTS_FILE)


def accepted_files(folder: Path) -> list[str]:
    """Return the paths of all files of an adapter folder, sorted.

    Raises:
        AdapterNotFound: there is no such folder.
        InvalidAdapter: a file or folder in it is not accepted, or one is missing; names it.
    """
    if not folder.is_dir():
        raise AdapterNotFound(
            f"No adapter folder {folder}.",
            field="folder",
            remedy="Name a folder with adapter_config.json and adapter_model.safetensors in it.",
        )
    paths = _walk(folder)
    for path in paths:
        check_path(path, str(folder))
    check_needed(paths, str(folder))
    return paths


def check_path(path: str, origin: str) -> None:
    """Refuse what is no file of an adapter, or would lie outside its folder.

    Raises:
        InvalidAdapter: names the file.
    """
    *folders, name = path.split("/")
    is_plain = path.isprintable() and "\\" not in path and not name.startswith(".")
    if folders not in ([], [_READER]) or not is_plain or Path(name).suffix not in _SUFFIXES:
        raise InvalidAdapter(
            f"{origin}: {path[:256]!r} is not accepted.",
            field=path[:256],
            remedy="An adapter is .safetensors, .json and .md files, and at most a folder "
            f"{_READER!r} of them; save weights as {WEIGHTS_FILE} and remove what else there is.",
        )


def check_needed(paths: list[str], origin: str) -> None:
    """Refuse files that are no whole adapter.

    Raises:
        InvalidAdapter: names the file that is missing.
    """
    readers = [f"{_READER}/{name}" for name in _NEEDED if any("/" in path for path in paths)]
    for name in (*_NEEDED, *readers):
        if name not in paths:
            raise InvalidAdapter(f"{origin}: {name} is missing.", field=name)


def check_files(folder: Path, paths: list[str]) -> Manifest | None:
    """Open every file of an adapter and return its manifest; None where it has none.

    Raises:
        InvalidAdapter: names the file that is not what its name says.
    """
    for path in paths:
        if path.endswith(".safetensors"):
            _check_weights(folder / path)
        elif path.endswith(".json"):
            _check_json(folder / path)
    return read_manifest(folder) if MANIFEST_FILE in paths else None


def _walk(folder: Path) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        below = Path(place).relative_to(folder)
        # A linked or empty folder is named like a file, and so refused.
        odd = [name for name in folders if _is_odd(Path(place, name))]
        found += [(below / name).as_posix() for name in [*names, *odd]]
    return sorted(found)


def _is_odd(folder: Path) -> bool:
    return folder.is_symlink() or not any(folder.iterdir())


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            return
    except (SafetensorError, OSError) as error:
        raise InvalidAdapter(
            f"{path.name}: not a whole safetensors file: {error}.",
            field=path.name,
            remedy="Copy or train it again; files of another kind are not renamed into this one.",
        ) from error


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidAdapter(f"{path.name}: not JSON: {error}.", field=path.name) from error
