"""One JSON document that is one conversation, as recognizers write them."""

from __future__ import annotations

from pathlib import Path

from descant.data.input_file import open_input
from descant.data.json_lines import parse_json
from descant.data.json_table import JsonTable
from descant.schema.errors import WrongFormat


def read_document(path: Path) -> JsonTable:
    """Return the object that a file holds.

    Raises:
        InvalidData: the file cannot be read, is not UTF-8 or not JSON.
        WrongFormat: it holds something else than an object.
    """
    with open_input(path) as file:
        value = parse_json(file.read(), str(path))
    if not isinstance(value, dict):
        raise WrongFormat(f"{path}: must be a JSON object.", field="format")
    return JsonTable(value, str(path))
