"""On which line of a TOML file each key stands, which tomllib does not say.

Walks a text that tomllib has accepted (TOML 1.0, https://toml.io/en/v1.0.0); checks nothing.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Where a value is: names of tables and keys, and places in arrays."""

_GAP = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_NAME = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+")
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'"
    r"|[^,\]}\n#]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every key, table and array element.

    A table without a header of its own stands where it is first named.
    """
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.run()
    return walk.lines


class _Walk:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.last_of: dict[KeyPath, int] = {}
        """The place of the last table in each array of tables."""

    def run(self) -> None:
        table: KeyPath = ()
        while self._skip() < len(self.text):
            if self._take("[["):
                table = self._header("]]")
                place = self.last_of.get(table, -1) + 1
                self.last_of[table] = place
                table = (*table, place)
                self.lines[table] = self._line()
            elif self._take("["):
                table = self._header("]")
                self.lines[table] = self._line()
            else:
                self._pair(table)

    def _header(self, end: str) -> KeyPath:
        path = self._key(())
        self._take(end)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self._take("=")
        self._value(path)

    def _key(self, table: KeyPath) -> KeyPath:
        """Read a dotted key; on the way, an array of tables means its last one."""
        path = table
        for name in self._names():
            if path in self.last_of:
                path = (*path, self.last_of[path])
            path = (*path, name)
            self.lines.setdefault(path, self._line())
        return path

    def _names(self) -> Iterator[str]:
        while True:
            self._skip()
            name = self._match(_NAME)
            yield next(iter(tomllib.loads(f"{name} = 0")))
            if not self._take("."):
                return

    def _value(self, path: KeyPath) -> None:
        if self._take("["):
            for place in itertools.count():
                if self._take("]"):
                    return
                self.lines[(*path, place)] = self._line()
                self._value((*path, place))
                self._take(",")
        elif self._take("{"):
            while not self._take("}"):
                self._pair(path)
                self._take(",")
        else:
            self._skip()
            self._match(_SCALAR)

    def _take(self, sign: str) -> bool:
        """Go past a sign and what stands before it, if it is the next one."""
        is_next = self.text.startswith(sign, self._skip())
        self.at += len(sign) if is_next else 0
        return is_next

    def _skip(self) -> int:
        self._match(_GAP)
        return self.at

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None, "the text is not TOML"
        self.at = found.end()
        return found[0]

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1
