"""The input of a batch: one request a line, read one by one, checked before any is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

_FIELDS = frozenset({"custom_id", "method", "url", "body"})
_MOST_ERRORS = 100


@dataclass(frozen=True)
class BatchLine:
    """One request of a batch."""

    custom_id: str
    body: bytes
    """JSON."""


@dataclass(frozen=True)
class LineError:
    """What is wrong with a batch's input; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class InputLimits:
    """How long an input may be."""

    lines: int
    line_bytes: int


@dataclass(frozen=True)
class InputReport:
    """How many requests an input has, and the first hundred things wrong with it."""

    total: int
    errors: tuple[LineError, ...]


def check_input(path: Path, endpoint: str, limits: InputLimits) -> InputReport:
    """Read a whole input and report every line that is not a request to `endpoint`."""
    errors: list[LineError] = []
    seen: set[str] = set()
    total = 0
    for number, data in _lines(path, limits.line_bytes):
        total += 1
        if total > limits.lines:
            message = f"The input has more than {limits.lines} lines."
            errors.append(LineError("too_many_tasks", message))
            break
        try:
            _check_line(data, endpoint, seen, limits)
        except _WrongLine as wrong:
            errors.append(LineError(wrong.code, wrong.message, wrong.param, number))
        if len(errors) == _MOST_ERRORS:
            errors.append(LineError("too_many_errors", "Lines after this one were not checked."))
            break
    if not total:
        errors.append(LineError("empty_file", "The input has no lines."))
    return InputReport(total, tuple(errors))


def read_input(path: Path) -> Iterator[BatchLine]:
    """Yield the requests of an input that was found to be in order."""
    with path.open("rb") as file:
        for data in file:
            if data.strip():
                table = _parse(data)
                yield BatchLine(table["custom_id"], json.dumps(table["body"]).encode())


class _WrongLine(Exception):
    def __init__(self, code: str, message: str, param: str | None = None):
        self.code, self.message, self.param = code, message, param
        super().__init__(message)


def _lines(path: Path, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of every line that is not blank, long ones cut behind the limit."""
    with path.open("rb") as file:
        number = 0
        while data := file.readline(most_bytes + 1):
            number += 1
            if data.strip():
                yield number, data
            _skip_rest(file, data, most_bytes)


def _skip_rest(file: BinaryIO, data: bytes, most_bytes: int) -> None:
    while data and not data.endswith(b"\n"):
        data = file.readline(most_bytes)


def _check_line(data: bytes, endpoint: str, seen: set[str], limits: InputLimits) -> None:
    if len(data) > limits.line_bytes:
        raise _WrongLine("invalid_request", f"The line has more than {limits.line_bytes} bytes.")
    table = _parse(data)
    for field in sorted(_FIELDS - table.keys()):
        raise _WrongLine("missing_required_parameter", f"{field} is missing.", field)
    for field in sorted(table.keys() - _FIELDS):
        raise _WrongLine("unknown_parameter", f"{field!r} is not a field of a request.", field)
    _check_id(table["custom_id"], seen)
    if table["method"] != "POST":
        raise _WrongLine("invalid_method", "method must be POST.", "method")
    if table["url"] != endpoint:
        raise _WrongLine("url_mismatch", f"url must be the batch's endpoint, {endpoint}.", "url")
    if not isinstance(table["body"], dict):
        raise _WrongLine("invalid_request", "body must be an object.", "body")
    if table["body"].get("stream"):
        raise _WrongLine("invalid_request", "A batch cannot stream.", "body.stream")


def _check_id(custom_id: object, seen: set[str]) -> None:
    if not isinstance(custom_id, str) or not custom_id:
        raise _WrongLine("invalid_request", "custom_id must be a text.", "custom_id")
    if custom_id in seen:
        message = f"custom_id {custom_id!r} is on an earlier line too."
        raise _WrongLine("duplicate_custom_id", message, "custom_id")
    seen.add(custom_id)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        table = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _WrongLine("invalid_json_line", f"Not JSON: {error}.") from error
    if not isinstance(table, dict):
        raise _WrongLine("invalid_json_line", "The line must be a JSON object.")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
