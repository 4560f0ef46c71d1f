"""Where an adapter comes from: ``manifest.json`` beside PEFT's own files.

It records the base model, the data and the recipe by hash, what was measured, the adapter it was
trained on from, and how its probabilities are calibrated. Reading refuses anything it does not know, so that a later format is never half
understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from descant.registry.atomic import replacing
from descant.schema import Calibration, Indicator, parse_calibration
from descant.schema.errors import InvalidAdapter

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

_HASH = re.compile(r"sha256:[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Manifest:
    """What one adapter was made of.

    Raises:
        InvalidAdapter: a field has a value that cannot be; names the field.
    """

    base_hash: str
    base_name: str
    data_hash: str
    """``sha256:…`` over the labelled conversations, whatever their order."""
    recipe: Mapping[str, Any]
    indicator: Mapping[str, Any]
    """``name``, ``labels`` and ``positive``, and any other field of an indicator."""
    metrics: Mapping[str, Any]
    created: str
    """ISO 8601."""
    content_hash: str
    parent: str | None = None
    """The content hash of the adapter that training started from."""
    format_version: int = FORMAT_VERSION
    calibration: Mapping[str, Any] | None = None
    """What `parse_calibration` reads; None, or left out of the file: probabilities stay as they are."""

    def __post_init__(self) -> None:
        _check_manifest(vars(self), MANIFEST_FILE)


def calibration_of(manifest: Manifest) -> Calibration | None:
    """Return the calibration that a manifest states, if any."""
    if manifest.calibration is None:
        return None
    return parse_calibration(manifest.calibration, manifest.indicator["labels"], MANIFEST_FILE)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into `folder`, whole or not at all.

    Raises:
        InvalidAdapter: a value is not JSON, such as a metric that is not a number.
        StorageFull: the old manifest, if any, is as it was.
    """
    path = folder / MANIFEST_FILE
    try:
        text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False, allow_nan=False)
        content = text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InvalidAdapter(f"{path}: cannot be written as JSON: {error}.") from error
    with replacing(path) as file:
        file.write(content)


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of an adapter folder.

    Raises:
        InvalidAdapter: it is missing, not JSON, of another format version, or a field is missing,
            unknown or wrong; names the file and the field.
    """
    path = folder / MANIFEST_FILE
    table = _read_table(path)
    _check_keys(table, str(path))
    _check_manifest(table, str(path))
    return Manifest(**table)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidAdapter(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidAdapter(f"{path}: not JSON: {error}.") from error
    if not isinstance(table, dict):
        raise InvalidAdapter(f"{path}: must be a JSON object.")
    return table


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value")


def _check_keys(table: Mapping[str, Any], origin: str) -> None:
    if not _is_version(table.get("format_version")):
        raise InvalidAdapter(
            f"{origin}: format_version is {table.get('format_version')!r}, not {FORMAT_VERSION}.",
            field="format_version",
            remedy="Use the version of Descant that wrote it, or a newer one.",
        )
    known = {field.name for field in fields(Manifest)}
    # Adapters made before there was calibration do not have it.
    for key in sorted({"calibration", *table} ^ known):
        state = "is missing" if key in known else "is unknown"
        raise InvalidAdapter(f"{origin}: field {key!r} {state}.", field=key)


def _check_manifest(table: Mapping[str, Any], origin: str) -> None:
    for key, (is_valid, expected) in _EXPECTED.items():
        if not is_valid(table[key]):
            raise InvalidAdapter(f"{origin}: field {key!r} must be {expected}.", field=key)
    indicator: Mapping[str, Any] = table["indicator"]
    unknown = sorted(set(indicator) - {field.name for field in fields(Indicator)})
    if unknown:
        field = f"indicator.{unknown[0]}"
        raise InvalidAdapter(f"{origin}: field {field!r} is unknown.", field=field)
    wanted = _EXPECTED_OF_TEXT if indicator.get("kind") == "text" else _EXPECTED_OF_INDICATOR
    for key, is_valid in wanted.items():
        if not is_valid(indicator.get(key)):
            field = f"indicator.{key}"
            raise InvalidAdapter(f"{origin}: field {field!r} is missing or wrong.", field=field)
    if table.get("calibration") is not None:
        parse_calibration(table["calibration"], indicator["labels"], origin)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_text, value))


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_version(value: object) -> bool:
    return type(value) is int and value == FORMAT_VERSION


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


_EXPECTED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "base_hash": (_is_text, "a text"),
    "base_name": (_is_text, "a text"),
    "data_hash": (_is_hash, "a hash: sha256: and hexadecimal digits"),
    "recipe": (_is_table, "an object"),
    "indicator": (_is_table, "an object"),
    "metrics": (_is_table, "an object"),
    "created": (_is_time, "an ISO 8601 time"),
    "content_hash": (_is_hash, "a hash: sha256: and hexadecimal digits"),
    "parent": (lambda value: value is None or _is_hash(value), "null or a hash"),
    "format_version": (_is_version, f"{FORMAT_VERSION}"),
}
_EXPECTED_OF_INDICATOR: Mapping[str, Callable[[object], bool]] = {
    "name": _is_text,
    "labels": _is_texts,
    "positive": _is_texts,
}
_EXPECTED_OF_TEXT: Mapping[str, Callable[[object], bool]] = {
    "name": _is_text,
    "max_tokens": lambda value: isinstance(value, int) and value > 0,
}
