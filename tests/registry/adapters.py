"""A manifest and adapter folders for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from descant.registry import CONFIG_FILE, Manifest

HASH = "sha256:" + "0123456789abcdef" * 4
WARM = {"method": "temperature", "temperature": 2.0, "num_examples": 40, "data_hash": HASH}


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "base_hash": HASH,
        "base_name": "tiny",
        "data_hash": HASH,
        "recipe": {"rank": 16, "modules": ["q_proj"]},
        "indicator": {"name": "greeting", "labels": ["no", "yes"], "positive": ["yes"]},
        "metrics": {"macro_f1": 0.5},
        "created": "2026-01-02T03:04:05+00:00",
        "content_hash": HASH,
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def adapter_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / CONFIG_FILE).write_text("{}")
    return path
