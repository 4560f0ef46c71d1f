"""Measures what sharing one reading is worth: fan-out against a reading, and against no sharing.

Three things are timed on the same engine, in turns: one plain reading of T tokens; the whole
fan-out (reading included) of A adapters; and the same questions with sharing off, one after the
other, on a few adapters from which the rest is extrapolated.
"""

from __future__ import annotations

import ctypes
import itertools
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from descant.engine import Engine, EngineConfig, ScoreRequest, Tail, bytes_per_slot
from descant.model import (
    SITE_MODULES,
    LoadedModel,
    LoraAdapter,
    LoraPair,
    Transformer,
    load_model,
)
from descant.schema import Quantization
from descant.text import Renderer, Tokenizer


@dataclass(frozen=True)
class FanoutFigures:
    """Medians over the runs; seconds and bytes."""

    adapters: int
    tokens: int
    tail_tokens: int
    reading_s: float
    fanout_s: float
    unshared_s: float
    """Extrapolated from `unshared_adapters` adapters."""
    gain: float
    """unshared_s / fanout_s"""
    formula: float
    """A (T + s) / (T + A s), the ratio of tokens."""
    gain_over_formula: float
    fanout_over_reading: float
    scratch_bytes: int | None
    """Peak memory that the adapters add to a fan-out of as many base tails, their own stacks apart;
    None where the system does not tell."""
    unshared_adapters: int
    rank: int
    quantization: Quantization | None
    runs: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def measure_fanout(  # noqa: PLR0913 - one number each
    model: str,
    adapters: int,
    tokens: int,
    rank: int,
    runs: int,
    quantization: Quantization | None,
    clock: Callable[[], float],
    on_progress: Callable[[str], None] = lambda message: None,
) -> FanoutFigures:
    """Load the model, make random adapters and time the three ways."""
    on_progress(f"loading {model}")
    base = load_model(model)
    renderer = Renderer(Tokenizer.load(base.folder))
    base.model.prepare(quantization)
    bench = _Bench(base, renderer, adapters, tokens, rank)
    alone = min(adapters, 4)
    timings: dict[str, list[float]] = {"reading": [], "fanout": [], "unshared": []}
    for run in range(runs + 1):
        on_progress(f"run {run} of {runs}" if run else "warming up")
        for name, work in (
            ("reading", bench.read),
            ("fanout", bench.fan_out),
            ("unshared", lambda: bench.unshared(alone)),
        ):
            started = clock()
            work()
            if run:
                timings[name].append(clock() - started)
    on_progress("measuring memory")
    scratch = bench.scratch_bytes()
    median = {name: statistics.median(values) for name, values in timings.items()}
    unshared_s = median["unshared"] / alone * adapters
    tail_tokens = len(renderer.invocation)
    gain = unshared_s / median["fanout"]
    formula = adapters * (tokens + tail_tokens) / (tokens + adapters * tail_tokens)
    return FanoutFigures(
        adapters=adapters,
        tokens=tokens,
        tail_tokens=tail_tokens,
        reading_s=median["reading"],
        fanout_s=median["fanout"],
        unshared_s=unshared_s,
        gain=gain,
        formula=formula,
        gain_over_formula=gain / formula,
        fanout_over_reading=median["fanout"] / median["reading"],
        scratch_bytes=scratch,
        unshared_adapters=alone,
        rank=rank,
        quantization=quantization,
        runs=runs,
        threads=torch.get_num_threads(),
    )


class _Bench:
    """The workload; every call has a salt of its own, so that nothing is found in the cache."""

    def __init__(
        self, base: LoadedModel, renderer: Renderer, adapters: int, tokens: int, rank: int
    ):
        slots = 2 * (tokens + 32 * (adapters + 1))
        shape = base.config
        slot_bytes = bytes_per_slot(
            shape.num_layers, shape.num_kv_heads, shape.head_dim, base.model.dtype
        )
        config = EngineConfig(kv_cache_bytes=slots * slot_bytes)
        self.engine = Engine(base.model, base.base_hash, config)
        self.prefix = _words(shape.vocab_size, tokens)
        labels = tuple(tuple(renderer.render_label(label)) for label in ("no", "yes"))
        invocation = renderer.invocation
        self.base_tails = tuple(Tail(invocation, labels) for _ in range(adapters))
        self.tails: tuple[Tail, ...] = ()
        for seed in range(adapters):
            adapter = random_adapter(base.model, invocation, rank, seed)
            self.tails += (Tail(invocation, labels, adapter),)
        self._salts = map(str, itertools.count())

    def read(self) -> None:
        self.engine.read(self.prefix, next(self._salts))

    def fan_out(self) -> None:
        self._score(self.tails)

    def unshared(self, adapters: int) -> None:
        for tail in self.tails[:adapters]:
            self._score((tail,))

    def scratch_bytes(self) -> int | None:
        """Return how much more memory the tails peak at with adapters than without."""
        # The reading peaks higher than the tails and would hide them: it is in the cache before.
        salt = next(self._salts)
        self.engine.read(self.prefix, salt)
        with_adapters = peak_bytes(lambda: self._score(self.tails, salt))
        without = peak_bytes(lambda: self._score(self.base_tails, salt))
        if with_adapters is None or without is None:
            return None
        return max(0, with_adapters - without)

    def _score(self, tails: tuple[Tail, ...], salt: str | None = None) -> None:
        request = ScoreRequest(self.prefix, tails, salt or next(self._salts))
        self.engine.score([request])


def random_adapter(
    model: Transformer, invocation: tuple[int, ...], rank: int, seed: int
) -> LoraAdapter:
    """Return an aLoRA adapter with random matrices on all seven modules."""
    generator = torch.Generator().manual_seed(seed)
    dtype = model.dtype
    weights = {}
    for layer in range(model.config.num_layers):
        for module in itertools.chain.from_iterable(SITE_MODULES.values()):
            a = torch.randn(rank, model.config.in_features(module), generator=generator)
            b = torch.randn(model.config.out_features(module), rank, generator=generator)
            weights[layer, module] = LoraPair(0.02 * a.to(dtype), 0.02 * b.to(dtype), 1.0)
    return LoraAdapter(
        f"random-{seed}", f"random:{rank}:{seed}", None, "invocation", invocation, 0, weights
    )


def peak_bytes(work: Callable[[], None]) -> int | None:
    """Return by how much the process' memory peaks above its start during `work` (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    # Freed memory that the allocator still holds would hide what the work takes.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    work()
    return _status_bytes("VmHWM") - before


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _words(vocab_size: int, count: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(7)
    first = min(1000, vocab_size // 2)
    return tuple(torch.randint(first, vocab_size, (count,), generator=generator).tolist())
