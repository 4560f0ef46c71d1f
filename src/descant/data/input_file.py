"""Files as they come: plain or gzipped, and what is not UTF-8 is refused by its place."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TextIO, cast

from descant.schema.errors import InvalidData

_UNDECODED = re.compile("[\udc80-\udcff]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def open_input(path: Path) -> Iterator[IO[bytes]]:
    """Open a file whose name may end in ``.gz``.

    Raises:
        InvalidData: it cannot be read, or its gzip is damaged.
    """
    try:
        with _open(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidData(f"{path}: cannot be read: {reason}.", field="path") from error


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open text with its line ends as they are; `check_decoded` finds bytes that are not UTF-8.

    Raises:
        InvalidData: it cannot be read, or is UTF-16.
    """
    with open_input(path) as file:
        if file.read(2) in _UTF16:
            raise _not_utf8(f"{path}: is UTF-16, not UTF-8.", "UTF-16")
        file.seek(0)
        # Bytes that are not UTF-8 are kept as surrogates, so that their place can be named.
        with TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
            yield text


def read_lines(path: Path) -> list[str]:
    r"""Return the lines of a text file, which end in ``\n``, ``\r`` or both, without their ends.

    Raises:
        InvalidData: the file cannot be read, or a line is not UTF-8.
    """
    with open_text(path) as file:
        lines = re.split("\r\n?|\n", file.read())
    for number, line in enumerate(lines, start=1):
        check_decoded(line, f"{path}, line {number}")
    return lines


def check_decoded(text: str, origin: str) -> None:
    """Refuse text that has bytes in it which are not UTF-8.

    Raises:
        InvalidData: names `origin` and the character.
    """
    found = _UNDECODED.search(text)
    if found:
        place = f"{origin}, character {found.start() + 1}"
        raise _not_utf8(f"{place}: is not UTF-8.", "WINDOWS-1252")


def is_gzip(path: Path) -> bool:
    """Say whether the name of a file promises gzip."""
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_gzip(path) else path.open("rb")


def _not_utf8(message: str, likely: str) -> InvalidData:
    return InvalidData(
        message,
        remedy=f"Save the file as UTF-8; if all of it is {likely}: iconv -f {likely} -t UTF-8.",
    )
