"""A JSON object of somebody else's making, read field by field: what is wrong is named by its path."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from descant.schema.errors import InvalidData

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class JsonTable:
    """One JSON object and where it stands; a field of null counts as missing."""

    fields: Mapping[str, Any]
    origin: str
    """The file, and in JSON lines the line."""
    path: str = ""
    """Such as ``results.utterances[3]``; empty for the outermost object."""

    @property
    def place(self) -> str:
        """Where this object is, for an error."""
        return f"{self.origin}, {self.path}" if self.path else self.origin

    def has(self, key: str) -> bool:
        """Say whether the field is there."""
        return self.fields.get(key) is not None

    def text(self, key: str) -> str:
        """Return a field that must be text.

        Raises:
            InvalidData: it is missing or something else, or holds half of a surrogate pair.
        """
        text = str(self._typed(key, str, "a text"))
        if _SURROGATE.search(text):
            raise self.error(key, "holds half of a surrogate pair")
        return text

    def table(self, key: str) -> JsonTable:
        """Return a field that must be an object.

        Raises:
            InvalidData: it is missing or something else.
        """
        return JsonTable(self._typed(key, dict, "an object"), self.origin, self._path(key))

    def tables(self, key: str) -> list[JsonTable]:
        """Return a field that must be a list of objects.

        Raises:
            InvalidData: it is missing or something else.
        """
        tables = []
        for at, value in enumerate(self._typed(key, list, "a list")):
            path = f"{self._path(key)}[{at}]"
            if not isinstance(value, dict):
                raise InvalidData(f"{self.origin}, {path}: must be an object.", field=path)
            tables.append(JsonTable(value, self.origin, path))
        return tables

    def whole(self, key: str) -> int:
        """Return a field that must be a whole number.

        Raises:
            InvalidData: it is missing or something else.
        """
        value = self._typed(key, int, "a whole number")
        if isinstance(value, bool):
            raise self.error(key, "must be a whole number")
        return int(value)

    def seconds(self, key: str) -> float:
        """Return a time: a number, or a text that is one, and never negative.

        Raises:
            InvalidData: it is missing, not a number or negative.
        """
        value = self.fields.get(key)
        try:
            time_s = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            time_s = math.nan
        if not math.isfinite(time_s) or isinstance(value, bool):
            raise self.error(key, f"must be a time, not {value!r}")
        if time_s < 0:
            raise self.error(key, f"is {value}; a time cannot be negative")
        return time_s

    def error(self, key: str, reason: str) -> InvalidData:
        """Return the error to raise about a field."""
        return InvalidData(f"{self.origin}, {self._path(key)}: {reason}.", field=self._path(key))

    def _typed(self, key: str, kind: type, name: str) -> Any:
        if not self.has(key):
            raise self.error(key, "is missing")
        value = self.fields[key]
        if not isinstance(value, kind):
            raise self.error(key, f"must be {name}")
        return value

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
