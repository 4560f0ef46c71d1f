"""One adapter folder, read whole or not at all.

A folder may be replaced, rewritten or deleted while it is read. Its files are compared before and
after, so that the settings of one version never meet the weights of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from descant.model import LoraAdapter
from descant.registry import CONFIG_FILE, MANIFEST_FILE, calibration_of, read_manifest
from descant.schema import Calibration
from descant.schema.errors import AdapterNotFound, InvalidAdapter

AdapterLoader = Callable[[Path], LoraAdapter]
"""Reads an adapter folder for one base model, as `descant.model.load_adapter` does."""

_FILES = (
    CONFIG_FILE,
    "adapter_model.safetensors",
    MANIFEST_FILE,
    f"reader/{CONFIG_FILE}",
    "reader/adapter_model.safetensors",
)


@dataclass(frozen=True)
class FolderContent:
    """What an adapter folder holds."""

    adapter: LoraAdapter
    labels: tuple[str, ...] | None
    """The labels it was trained for; None without a manifest."""
    calibration: Calibration | None
    """How its probabilities are calibrated; None: not at all."""


def read_folder(load: AdapterLoader, folder: Path) -> FolderContent:
    """Read an adapter, and the labels and calibration in its manifest.

    Raises:
        AdapterNotFound: there is no such folder, or it was deleted meanwhile.
        InvalidAdapter: names the file and the setting or tensor that is wrong; or the files changed
            while they were read.
    """
    try:
        before = _stamps(folder)
        adapter = load(folder)
        manifest = read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None
        after = _stamps(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if after != before:
        raise InvalidAdapter(
            f"{folder}: its files changed while they were read.",
            field="folder",
            remedy="Ask again when they have been written.",
        )
    if manifest is None:
        return FolderContent(adapter, None, None)
    labels = tuple(manifest.indicator["labels"])
    return FolderContent(adapter, labels, calibration_of(manifest))


def _stamps(folder: Path) -> list[tuple[int, int, int] | None]:
    return [_stamp(folder / file) for file in _FILES]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(folder: Path, error: OSError) -> AdapterNotFound | InvalidAdapter:
    if not folder.is_dir():
        return AdapterNotFound(f"No adapter folder {folder}.", field="adapter")
    return InvalidAdapter(f"{folder}: cannot be read: {error.strerror}.", field="folder")
