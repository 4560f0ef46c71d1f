"""Whole adapter folders without torch, and registries over them with a clock of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from descant.registry import CONFIG_FILE, Registry, write_manifest
from tests.registry.adapters import HASH, manifest

WEIGHTS = "adapter_model.safetensors"


def weights_hash(seed: int) -> str:
    return f"sha256:{seed:064x}"


def package(folder: Path, seed: int, *, has_manifest: bool = True, **changes: object) -> Path:
    """Write an adapter folder whose content follows from the seed."""
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text('{"r": 2}')
    save_file({"lora": np.full((2, 3), seed, dtype=np.float32)}, folder / WEIGHTS)
    if has_manifest:
        told = {"content_hash": weights_hash(seed), "data_hash": HASH, **changes}
        write_manifest(folder, manifest(**told))
    return folder


class Clock:
    """A minute later at each look."""

    def __init__(self) -> None:
        self.now = datetime(2031, 5, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


def registry(location: str | Path, *, user: str = "ada", creates: bool = True) -> Registry:
    return Registry(location, user=user, now=Clock(), creates=creates)
