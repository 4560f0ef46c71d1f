"""Reads and writes a Hugging Face model folder: ``config.json`` and safetensors, sharded or not.

Only safetensors are opened; a file that could carry code (pickle) is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from descant.model.storage import write_json
from descant.schema.errors import InvalidModel

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Raises:
        InvalidModel: the file is missing or is not a JSON object.
    """
    return read_json(folder / "config.json")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, in order of name.

    Raises:
        InvalidModel: there are none, or the index names one that is missing.
    """
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        raise InvalidModel(
            f"{folder}: neither {_SINGLE} nor {_INDEX} is there.",
            field=_SINGLE,
            remedy="Only safetensors are read; convert other formats first.",
        )
    names = sorted(set(_weight_map(folder).values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InvalidModel(f"{folder / _INDEX}: file {name!r} is missing.", field="weight_map")
    return [folder / name for name in names]


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor by name, one at a time, as stored.

    Raises:
        InvalidModel: names a file that is cut short or not safetensors.
    """
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a dictionary
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InvalidModel(
                f"{path}: not a whole safetensors file: {error}.",
                field=path.name,
                remedy="Download or copy it again.",
            ) from error


def write_folder(
    folder: Path, documents: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> None:
    """Write JSON files by name and all tensors as ``model.safetensors``."""
    for name, document in documents.items():
        write_json(folder / name, document)
    # In memory first: a full disk then is an OSError with its number, not text from the library.
    (folder / _SINGLE).write_bytes(save(dict(tensors), metadata={"format": "pt"}))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InvalidModel: the file is missing or is not a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidModel(f"{path}: not readable as JSON: {error}.", field=path.name) from error
    if not isinstance(document, dict):
        raise InvalidModel(f"{path}: not a JSON object.", field=path.name)
    return document


def _weight_map(folder: Path) -> dict[str, str]:
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModel(f"{folder / _INDEX}: no weight_map.", field="weight_map")
    return {str(key): str(value) for key, value in weight_map.items()}
