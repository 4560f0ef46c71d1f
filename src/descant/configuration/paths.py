"""Paths in a TOML file: relative to it, and there."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationInfo

from descant.configuration.spelling import did_you_mean


def below_file(path: Path, info: ValidationInfo) -> Path:
    """Return a path that is relative to the file it stands in."""
    assert info.context is not None, "read by RecordReader"
    folder: Path = info.context["folder"]
    return folder / path


def existing(path: Path, info: ValidationInfo) -> Path:
    """Return the path of something that exists.

    Raises:
        ValueError: it does not; names what it was probably meant to be.
    """
    path = below_file(path, info)
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")]
        raise ValueError(f"{path} does not exist. {did_you_mean(path.name, beside)}".rstrip())
    return path


def existing_file(path: Path, info: ValidationInfo) -> Path:
    """Return the path of a file.

    Raises:
        ValueError: there is none.
    """
    path = existing(path, info)
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    return path


def existing_folder(path: Path, info: ValidationInfo) -> Path:
    """Return the path of a folder.

    Raises:
        ValueError: there is none.
    """
    path = existing(path, info)
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder.")
    return path
