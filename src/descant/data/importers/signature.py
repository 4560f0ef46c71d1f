"""Tells the format of a file by what is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descant.data.importers.formats import FORMATS
from descant.data.importers.records import read_records
from descant.data.importers.source_file import visible_files
from descant.data.input_file import open_input
from descant.schema.errors import InvalidConfig, WrongFormat

_HEAD_BYTES = 4096
_SRT = re.compile(r"\s*(?:\d+\s*\r?\n)?\s*\d+:\d\d:\d\d[.,]\d+ *-->")
_TABLE_ENDINGS = (".csv", ".tsv")
_ENDINGS = (*_TABLE_ENDINGS, ".parquet", ".json", ".jsonl", ".ndjson", ".vtt", ".srt")
# A key, or a key of its results, that a JSON object has in one format only.
_FORMAT_OF_KEY = {
    ("results", "channels"): "deepgram",
    ("results", "transcripts"): "transcribe",
    ("Transcript",): "contact-lens",
    ("messages",): "openai-chat",
    ("role",): "openai-chat",
    ("conversation_id",): "taskmaster",
    ("turns",): "descant",
}


def guess_format(source: Path, beside: Sequence[Path] = ()) -> str:
    """Return the only format that a file, or the files of a folder, can be.

    Of a folder, the first file of every known ending is looked at; files `beside` the data are not.

    Raises:
        InvalidConfig: there is none, or more than one; lists the formats.
        InvalidData: there is no such file or folder, or a file cannot be read.
    """
    if any(source.glob("labels_*.jsonl.gz")):
        return "star"
    paths = [source] if source.is_file() else _one_of_each_ending(visible_files(source, beside))
    kinds = {path.name: format_of(path) for path in paths}
    found = set(kinds.values())
    if len(found) == 1 and None not in found:
        return str(found.pop())
    seen = ", ".join(f"{name}: {kind or 'unknown'}" for name, kind in kinds.items())
    raise InvalidConfig(
        f"{source}: cannot tell its format ({seen or 'no file with a known ending'}).",
        field="format",
        remedy=f"Say it with --format: {', '.join(FORMATS)}.",
    )


def format_of(path: Path) -> str | None:
    """Return the format that the content of a file shows, or None.

    Raises:
        InvalidData: the file cannot be read, or begins like JSON and is not.
        WrongFormat: it is a workbook.
    """
    with open_input(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        raise WrongFormat(
            f"{path}: is a ZIP archive, such as Excel writes.",
            field="format",
            remedy="Save the table as CSV UTF-8.",
        )
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith(("{", "[")):
        return _json_format(path)
    return _text_format(text, path)


def _one_of_each_ending(paths: Sequence[Path]) -> list[Path]:
    first = {_ending(path): path for path in reversed(paths)}
    return [first[ending] for ending in _ENDINGS if ending in first]


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _json_format(path: Path) -> str | None:
    record = next(read_records(path), None)
    value = record.value if record is not None else None
    first = value[0] if isinstance(value, list) and value else value
    found = [name for keys, name in _FORMAT_OF_KEY.items() if _has(first, keys)]
    return found[0] if found else None


def _has(value: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _text_format(text: str, path: Path) -> str | None:
    if text.startswith("WEBVTT"):
        return "webvtt"
    if _SRT.match(text):
        return "srt"
    header = text.partition("\n")[0].split("\t")
    if {"conversationId", "utterance"} <= {name.strip() for name in header}:
        return "multidogo"
    return "csv" if _ending(path) in _TABLE_ENDINGS else None
