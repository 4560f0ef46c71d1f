"""JSON to and from upstreams: read without trusting a byte of it."""

from __future__ import annotations

import json
from typing import Any

import orjson


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object, or None where it is none.

    What strict JSON forbids but Python's servers write (NaN among log-probabilities, halves of
    surrogate pairs) is read as well.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = _lenient(data)
    return document if isinstance(document, dict) else None


class TooDeep(Exception):
    """A document is nested too deeply to be written."""


def dump(document: Any) -> bytes:
    """Return the document as JSON.

    Raises:
        TooDeep: see there.
    """
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        pass
    # Deeper than orjson goes, or with a number of more than 64 bits, or half a surrogate pair.
    try:
        return json.dumps(document, separators=(",", ":")).encode()
    except RecursionError as error:
        raise TooDeep from error


def object_in(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what is under the key if that is an object, else an empty one."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def list_in(document: dict[str, Any], key: str) -> list[Any]:
    """Return what is under the key if that is a list, else an empty one."""
    value = document.get(key)
    return value if isinstance(value, list) else []


def text_in(document: dict[str, Any], key: str) -> str:
    """Return what is under the key if that is a text, else an empty one."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def count_in(document: dict[str, Any], key: str) -> int | None:
    """Return what is under the key if that is a count, else None."""
    value = document.get(key)
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None


def _lenient(data: bytes) -> Any:
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
