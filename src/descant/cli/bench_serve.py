"""Measures serving: tokens a second for the base model, with adapters, and with a thousand of them.

An offline benchmark: the engine is driven directly, nothing goes over HTTP. What is compared runs in
turns in the same run; every figure is the median of the runs behind one that only warms up.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from descant.adapters import AdapterLibrary, LibraryConfig
from descant.cli.bench_decode import Clock, RequestMaker, time_decoding, time_reading
from descant.cli.bench_fanout import random_adapter
from descant.cli.bench_part import Part
from descant.cli.bench_traffic import (
    FirstUses,
    TrafficConfig,
    draw_names,
    make_resident,
    run_traffic,
    write_copies,
)
from descant.engine import Engine, EngineConfig, bytes_per_adapter, bytes_per_slot
from descant.model import LoadedModel, LoraAdapter, load_model
from descant.schema import AdapterDtype, Quantization
from descant.schema.errors import InvalidConfig
from descant.text import Renderer, Tokenizer


@dataclass(frozen=True)
class ServeConfig:
    """The work; the defaults are those of the published figures.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    prompt_tokens: int = 128
    output_tokens: int = 128
    batches: tuple[int, ...] = (1, 8, 32)
    prefill_tokens: tuple[int, ...] = (1000, 3000)
    adapters: tuple[tuple[int, int], ...] = ((8, 8), (8, 32), (60, 60))
    """How many different ones, and at which batch."""
    rank: int = 16
    adapter_dtype: AdapterDtype = "model"
    traffic: TrafficConfig = field(default_factory=TrafficConfig)

    def __post_init__(self) -> None:
        if self.output_tokens < 2:
            raise InvalidConfig("output_tokens must be at least 2.", field="output_tokens")


@dataclass(frozen=True)
class ServeRow:
    """One figure, a median over the runs."""

    name: str
    batch: int
    tokens: int
    """Output tokens of a request; for a prefill, tokens of the prompt."""
    ours_tokens_per_s: float
    """In a row that names another unit, in that unit."""
    peer: str | None = None
    peer_tokens_per_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values, with the ratio of ours to the peer's."""
        peer = self.peer_tokens_per_s
        return asdict(self) | {"ratio": None if peer is None else self.ours_tokens_per_s / peer}


@dataclass(frozen=True)
class _Case:
    """What makes one row: ours, and what it is measured against in turns."""

    name: str
    batch: int
    tokens: int
    ours: Callable[[], float]
    peer: str | None = None
    theirs: Callable[[], float] | None = None

    @property
    def label(self) -> str:
        """What is told of it while it runs."""
        return f"{self.name}, batch {self.batch}, {self.tokens} tokens"


def measure_serving(
    model: str,
    parts: Collection[Part],
    runs: int,
    config: ServeConfig,
    clock: Clock,
    on_progress: Callable[[str], None] = lambda message: None,
    quantization: Quantization | None = None,
) -> list[ServeRow]:
    """Load the model, make random adapters, and time the parts asked for.

    Raises:
        InvalidConfig: a size does not fit the others.
    """
    on_progress(f"loading {model}")
    base = load_model(model)
    base.model.prepare(quantization)
    bench = _Bench(base, config, clock)
    rows: list[ServeRow] = []
    if Part.BASE in parts:
        rows += _measure(bench.base_cases(), runs, on_progress)
    if Part.ADAPTERS in parts:
        rows += _measure(bench.adapter_cases(), runs, on_progress)
    if Part.LIBRARY in parts:
        with tempfile.TemporaryDirectory(prefix="descant-") as folder:
            on_progress(f"writing {config.traffic.registered} adapters")
            traffic = _TrafficBench(bench, Path(folder))
            rows += _measure([traffic.case()], runs, on_progress)
            rows.append(traffic.first_use_row(runs))
    suffix = "" if quantization is None else f", {quantization}"
    return [replace(row, name=row.name + suffix) for row in rows]


def _measure(
    cases: Sequence[_Case], runs: int, on_progress: Callable[[str], None]
) -> list[ServeRow]:
    """Run all cases in turns, once to warm up, and return a row for each."""
    ours: list[list[float]] = [[] for _ in cases]
    theirs: list[list[float]] = [[] for _ in cases]
    for run in range(runs + 1):
        for case, our, their in zip(cases, ours, theirs, strict=True):
            on_progress(f"{f'run {run} of {runs}' if run else 'warming up'}: {case.label}")
            our.append(case.ours())
            if case.theirs is not None:
                their.append(case.theirs())
    return [
        ServeRow(
            case.name,
            case.batch,
            case.tokens,
            statistics.median(our[1:]),
            case.peer,
            statistics.median(their[1:]) if their else None,
        )
        for case, our, their in zip(cases, ours, theirs, strict=True)
    ]


class _Bench:
    """One engine, large enough for every batch, and random adapters for it."""

    def __init__(self, base: LoadedModel, config: ServeConfig, clock: Clock):
        self.config = config
        self.clock = clock
        self.base = base
        self.invocation = Renderer(Tokenizer.load(base.folder)).invocation
        self.maker = RequestMaker(base.config.vocab_size, self.invocation)
        batch = max([*config.batches, *(batch for _, batch in config.adapters)], default=1)
        decoding = batch * (config.prompt_tokens + config.output_tokens + 32)
        self._engine_tokens = max(decoding, *(count + 32 for count in config.prefill_tokens))

    @cached_property
    def engine(self) -> Engine:
        """The engine of all that is not traffic."""
        slots = max([count for count, _ in self.config.adapters], default=1)
        return self.new_engine(self._engine_tokens, slots)

    @cached_property
    def adapters(self) -> list[LoraAdapter]:
        """As many as the largest case takes."""
        count = max([count for count, _ in self.config.adapters], default=0)
        return [self.adapter(seed) for seed in range(count)]

    def adapter(self, seed: int) -> LoraAdapter:
        """Return a random adapter."""
        return random_adapter(self.base.model, self.invocation, self.config.rank, seed)

    def new_engine(self, kv_tokens: int, adapter_slots: int) -> Engine:
        """Return an engine for so many tokens and adapters at once."""
        shape, model = self.base.config, self.base.model
        slot_bytes = bytes_per_slot(
            shape.num_layers, shape.num_kv_heads, shape.head_dim, model.dtype
        )
        adapter_bytes = adapter_slots * bytes_per_adapter(
            shape, self.config.rank, model.dtype, model.device, self.config.adapter_dtype
        )
        config = EngineConfig(
            kv_cache_bytes=kv_tokens * slot_bytes,
            adapter_dtype=self.config.adapter_dtype,
            adapter_bytes=adapter_bytes,
        )
        return Engine(model, self.base.base_hash, config)

    def base_cases(self) -> list[_Case]:
        """Return decoding at every batch, and prefill."""
        decoding = [
            _Case("base decode", batch, self.config.output_tokens, partial(self.decode, batch))
            for batch in self.config.batches
        ]
        reading = [
            _Case("base prefill", 1, tokens, partial(self.read, tokens))
            for tokens in self.config.prefill_tokens
        ]
        return decoding + reading

    def adapter_cases(self) -> list[_Case]:
        """Return decoding with different adapters, beside the base model at the same batch."""
        kind = "" if self.config.adapter_dtype == "model" else f" in {self.config.adapter_dtype}"
        return [
            _Case(
                f"decode, {count} adapters{kind}",
                batch,
                self.config.output_tokens,
                partial(self.decode, batch, count),
                "descant base",
                partial(self.decode, batch),
            )
            for count, batch in self.config.adapters
        ]

    def decode(self, batch: int, adapters: int = 0) -> float:
        """Return tokens a second of a full batch; the i-th request has adapter i modulo their number."""
        config = self.config
        chosen = self.adapters[:adapters] if adapters else [None]
        requests = [
            self.maker.request(
                config.prompt_tokens, config.output_tokens, chosen[index % len(chosen)]
            )
            for index in range(batch)
        ]
        return time_decoding(self.engine, requests, self.clock).tokens_per_s

    def read(self, tokens: int) -> float:
        """Return tokens a second of one new prompt, up to its first output token."""
        request = self.maker.request(tokens, 1)
        return time_reading(self.engine, request, self.clock).tokens_per_s


class _TrafficBench:
    """The same traffic on an engine whose slots hold few adapters, and on one that holds them all."""

    def __init__(self, bench: _Bench, folder: Path):
        self._bench = bench
        self._config = config = bench.config.traffic
        self._folder = folder
        registered = write_copies(folder, bench.adapter(0), config.registered)
        self._names = draw_names(registered, config, random.Random(7))
        tokens = config.in_flight * (config.prompt_tokens + config.output_tokens + 32)
        used = set(self._names)
        self._resident_engine = bench.new_engine(tokens, len(used))
        library = self._new_library()
        self._resident = {name: library.load(name) for name in used}
        make_resident(self._resident_engine, self._resident.values())
        self._new_engine = partial(bench.new_engine, tokens, config.in_pool)
        self._first_use_s: list[list[float]] = []

    def case(self) -> _Case:
        """Return output tokens a second, prompts and first uses included."""
        config = self._config
        name = f"Zipf traffic, {config.registered} adapters, {config.in_pool} in the pool"
        return _Case(
            name,
            config.in_flight,
            config.output_tokens,
            self._run_registered,
            "descant, all resident",
            self._run_resident,
        )

    def first_use_row(self, runs: int) -> ServeRow:
        """Return what 99 of 100 first uses stay below, over the last runs."""
        seconds = sorted(chain.from_iterable(self._first_use_s[-runs:]))
        slowest = seconds[math.ceil(0.99 * len(seconds)) - 1]
        return ServeRow("first use of an adapter, p99 in seconds", 1, 0, slowest)

    def _run_registered(self) -> float:
        # A library and slots that have seen no adapter yet.
        engine, library = self._new_engine(), self._new_library()
        first_uses = FirstUses(engine, library, self._bench.clock)
        tokens_per_s = self._run(engine, first_uses.provide)
        self._first_use_s.append(first_uses.seconds)
        return tokens_per_s

    def _run_resident(self) -> float:
        return self._run(self._resident_engine, self._resident.__getitem__)

    def _run(self, engine: Engine, provide: Callable[[str], LoraAdapter]) -> float:
        maker, clock = self._bench.maker, self._bench.clock
        pace = run_traffic(engine, provide, self._names, self._config, maker, clock)
        return pace.tokens_per_s

    def _new_library(self) -> AdapterLibrary:
        return AdapterLibrary.for_model(self._bench.base, LibraryConfig(folders=(self._folder,)))
