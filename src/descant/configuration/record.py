"""A TOML table as a frozen dataclass, every mistake in it found at once.

Fields are read as they are annotated, nested dataclasses and tables of them as nested tables. What a dataclass refuses
itself (`__post_init__`) is asked again without the field that it names, until it has no more to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from descant.configuration.lines import KeyPath
from descant.configuration.spelling import did_you_mean
from descant.schema.errors import InvalidConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic_core import ErrorDetails

    Record = TypeVar("Record", bound=DataclassInstance)


class RecordReader:
    """Reads one file; `mistakes` holds what was wrong, by line."""

    def __init__(self, origin: str, lines: Mapping[KeyPath, int], context: Mapping[str, Any]):
        """`origin` is named in mistakes; `context` is what validators of fields may ask for."""
        self.origin = origin
        self.lines = lines
        self.context = dict(context)
        self._homes: Mapping[str, str] = {}
        self._found: list[tuple[int, InvalidConfig]] = []

    @property
    def mistakes(self) -> list[InvalidConfig]:
        """Everything that was wrong so far, from the top of the file."""
        return [error for _, error in sorted(self._found, key=lambda pair: pair[0])]

    def read(
        self, kind: type[Record], table: Mapping[str, Any], path: KeyPath = ()
    ) -> Record | None:
        """Return the record, or None if that cannot be made of the table."""
        hints = get_type_hints(kind, include_extras=True)
        self._homes = self._homes or _homes(hints)
        for key in table:
            if key not in hints:
                self._refuse_unknown((*path, key), hints)
        values: dict[str, Any] = {}
        is_whole = True
        for field in fields(kind):
            place = (*path, field.name)
            if field.name in table or is_dataclass(hints[field.name]):
                value = self._value(hints[field.name], table.get(field.name, {}), place)
                if value is not None:
                    values[field.name] = value
            elif _is_required(field):
                self._add(place, "is missing.")
            is_whole = is_whole and (field.name in values or not _is_required(field))
        return self._build(kind, values, path) if is_whole else None

    def _value(self, hint: Any, value: Any, path: KeyPath) -> Any:
        """Return the checked value, or None if there was a mistake in it."""
        kind = _kind_of_values(hint)
        if kind is None and not is_dataclass(hint):
            return self._scalar(hint, value, path)
        if not isinstance(value, dict):
            self._add(path, f"must be a table: [{path[-1]}].")
            return None
        if kind is None:
            return self.read(cast("type[DataclassInstance]", hint), value, path)
        found = {name: self._value(kind, each, (*path, name)) for name, each in value.items()}
        return None if None in found.values() else found

    def _scalar(self, hint: Any, value: Any, path: KeyPath) -> Any:
        # As JSON, because arrays may then be tuples while a text is still not a number.
        text = json.dumps(value, default=str)
        try:
            return TypeAdapter(hint).validate_json(text, strict=True, context=self.context)
        except ValidationError as error:
            for problem in error.errors():
                inner = [part for part in problem["loc"] if isinstance(part, int)]
                self._add((*path, *inner), *_reason(problem))
            return None

    def _build(self, kind: type[Record], values: dict[str, Any], path: KeyPath) -> Record | None:
        required = {field.name for field in fields(kind) if _is_required(field)}
        while True:
            try:
                return kind(**values)
            except InvalidConfig as error:
                field = error.field or ""
                self._add((*path, field) if field else path, error.message, error.remedy)
                if field in required or field not in values:
                    return None
                del values[field]

    def _refuse_unknown(self, path: KeyPath, known: Mapping[str, Any]) -> None:
        key = str(path[-1])
        remedy = self._homes.get(key) or did_you_mean(key, known) or f"Known: {', '.join(known)}."
        self._add(path, "unknown key.", remedy)

    def _add(self, path: KeyPath, reason: str, remedy: str | None = None) -> None:
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        line = self._line(path)
        message = f"{self.origin}:{line}: {key.removeprefix('.')}: {reason}"
        error = InvalidConfig(message, field=key.removeprefix("."), remedy=remedy)
        self._found.append((line, error))

    def _line(self, path: KeyPath) -> int:
        """Return the line of the key, or of the table in which it should be."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _kind_of_values(hint: Any) -> Any:
    """Return the dataclass of a table of tables, ``dict[str, Kind]``; None of anything else."""
    if get_origin(hint) is not dict:
        return None
    kind = get_args(hint)[1]
    return kind if is_dataclass(kind) else None


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _homes(hints: Mapping[str, Any]) -> dict[str, str]:
    """Return where each key of a file and its tables belongs."""
    homes = dict.fromkeys(hints, "It belongs above the first [table].")
    for table, hint in hints.items():
        if is_dataclass(hint):
            homes |= dict.fromkeys(get_type_hints(hint), f"It belongs below [{table}].")
    return homes


def _reason(problem: ErrorDetails) -> tuple[str, str | None]:
    """Return what is wrong in a sentence, and what was probably meant."""
    text, value = problem["msg"].removeprefix("Value error, "), problem["input"]
    if not text.startswith("Input should be"):
        return text if text.endswith((".", "?")) else f"{text}.", None
    shown = json.dumps(value, default=str, ensure_ascii=False)
    choices = re.findall("'([^']*)'", problem.get("ctx", {}).get("expected", ""))
    meant = did_you_mean(value, choices) if isinstance(value, str) else None
    return f"{text.replace('Input should be', 'must be', 1)}, not {shown}.", meant or None
