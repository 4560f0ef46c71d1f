"""The files an import reads: one that was named, or those of a folder whose names fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from descant.schema.errors import InvalidData

NOTHING_SAID = "nothing was said"

OnSkip = Callable[[str, str], None]
"""Gets the id of a conversation that is left out, and why."""


@dataclass(frozen=True)
class SourceFile:
    """One file and the id of its conversation, if it is one."""

    path: Path
    id: str
    """The file's name, in a folder with the folders above it, without its endings."""


@dataclass(frozen=True)
class Found:
    """What an import will read."""

    files: tuple[SourceFile, ...]
    num_other: int
    """Visible files of the folder that are none of the format's."""


def find_files(source: Path, patterns: Sequence[str], beside: Sequence[Path] = ()) -> Found:
    """Return the named file itself, or the files of a folder and its folders that fit a pattern.

    Patterns are of lower-case names; ``.gz`` may follow. Files `beside` the data are not counted.

    Raises:
        InvalidData: there is nothing at `source`, or no file in the folder fits.
    """
    if source.is_file():
        return Found((SourceFile(source, _stem(source.name)),), 0)
    visible = visible_files(source, beside)
    fitting = [path for path in visible if _fits(path, patterns)]
    if not fitting:
        raise InvalidData(
            f"{source}: has no file that fits {' or '.join(patterns)}.",
            field="source",
            remedy="Name another folder, a file, or another --format.",
        )
    files = tuple(SourceFile(path, _stem(path.relative_to(source).as_posix())) for path in fitting)
    return Found(files, len(visible) - len(files))


def visible_files(folder: Path, beside: Sequence[Path] = ()) -> list[Path]:
    """Return the files of a folder and its folders in the order of their names, none hidden.

    Raises:
        InvalidData: it is not there.
    """
    if not folder.is_dir():
        raise InvalidData(f"{folder}: there is no such file or folder.", field="source")
    not_data = {path.resolve() for path in beside}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.resolve() not in not_data
    )


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return any(fnmatch(name, pattern) for pattern in patterns)


def _stem(name: str) -> str:
    without_gz = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    folder, slash, last = without_gz.rpartition("/")
    return f"{folder}{slash}{Path(last).stem}"
