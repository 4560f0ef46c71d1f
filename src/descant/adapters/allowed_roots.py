"""Which folders a caller may name: a path from the network must not reach the rest of the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from descant.schema.errors import InvalidAdapter


class AllowedRoots:
    """Folders below which adapters may be registered; links count as what they point to."""

    def __init__(self, roots: Sequence[Path]):
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)

    def resolve(self, path: str | Path) -> Path:
        """Return the real folder a path means; a relative one is below the current folder.

        Raises:
            InvalidAdapter: it, or a file in it, is outside the roots, or its name starts with a dot
                as that of a folder does which is still being written; names the field ``lora_path``.
        """
        try:
            folder = self._inside(path, path)
            for file in folder.iterdir() if folder.is_dir() else ():
                self._inside(file, path)
        except (OSError, ValueError) as error:
            raise _refused(path, "is not a folder that can be read") from error
        if folder.name.startswith("."):
            raise _refused(path, "is the name of a folder that is still being written")
        return folder

    def _inside(self, path: str | Path, asked: str | Path) -> Path:
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(root) for root in self._roots):
            raise _refused(asked, "leads outside the folders adapters may be loaded from")
        return real


def _refused(path: str | Path, reason: str) -> InvalidAdapter:
    return InvalidAdapter(
        f"{str(path)[:4096]!r} {reason}.",
        field="lora_path",
        remedy="Put the adapter below a folder that this library was started with.",
    )
