"""Bytes in any pieces → whole lines."""

from __future__ import annotations

from descant.schema.errors import InputError


class LineSplitter:
    """Holds back at most one line."""

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that end in `data`, without their ends.

        Raises:
            InputError: a line is too long.
        """
        first, *others = data.split(b"\n")
        self._rest += first
        if not others:
            self._check(len(self._rest))
            return []
        lines = [bytes(self._rest), *others[:-1]]
        self._rest = bytearray(others[-1])
        self._check(max(len(self._rest), *map(len, lines)))
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, where it has no end."""
        lines = [bytes(self._rest)] if self._rest else []
        self._rest.clear()
        return lines

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._most_bytes:
            raise InputError(f"A line has more than {self._most_bytes} bytes.", field="file")
