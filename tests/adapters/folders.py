"""Adapter folders as PEFT writes them, for the tests of this room, and libraries over them."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from descant.adapters import AdapterLibrary, LibraryConfig
from descant.adapters.host_tier import num_bytes
from descant.model import LoraAdapter, content_hash, load_adapter, save_adapter
from descant.registry import MANIFEST_FILE
from tests.registry.adapters import manifest
from tests.tiny import tiny_adapter, tiny_config

CONFIG = tiny_config()
load_tiny = partial(load_adapter, config=CONFIG)


def adapter(seed: int, *, plain: bool = False, rank: int = 2) -> LoraAdapter:
    made = tiny_adapter(CONFIG, seed, plain=plain, rank=rank)
    return replace(made, content_hash=content_hash(made.weights, made.invocation_tokens))


def write(folder: Path, seed: int, *, plain: bool = False, rank: int = 2) -> str:
    """Write an adapter without a manifest; return its content hash."""
    made = adapter(seed, plain=plain, rank=rank)
    save_adapter(folder, made)
    return made.content_hash


def write_with_manifest(folder: Path, seed: int, **changes: object) -> str:
    made = adapter(seed)
    told = manifest(**{"content_hash": made.content_hash, **changes})
    save_adapter(folder, made, documents={MANIFEST_FILE: asdict(told)})
    return made.content_hash


def same_weights(one: LoraAdapter, other: LoraAdapter) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        torch.equal(pair.a, other.weights[place].a) and torch.equal(pair.b, other.weights[place].b)
        for place, pair in one.weights.items()
    )


ONE = num_bytes(adapter(0))
"""What an adapter takes that is made without further wishes."""


class Clock:
    """One second later at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


class CountingLoader:
    """Reads folders as they are read, and counts; waits at a folder that is held."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.held: dict[str, threading.Event] = {}

    def __call__(self, folder: Path) -> LoraAdapter:
        self.loads.append(folder.name)
        self.arrived.release()
        if folder.name in self.held:
            assert self.held[folder.name].wait(30)
        return load_tiny(folder)


def library(
    *folders: Path,
    host_bytes: int = 1 << 30,
    allowed: tuple[Path, ...] = (),
    loader: CountingLoader | None = None,
) -> AdapterLibrary:
    config = LibraryConfig(folders, allowed, host_bytes)
    return AdapterLibrary(loader or load_tiny, config, Clock())
