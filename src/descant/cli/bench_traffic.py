"""Traffic over many registered adapters, few of which fit the engine's slots at once.

Requests follow Zipf's law: the adapter in place r is asked for in proportion to r^-exponent. A fixed
number is under way at any time; when one ends, the next begins.

The registered folders have settings, and so content hashes, of their own, but one file of weights,
by hard links: a first use reads, checks and hashes a file that the system has in memory, and fills
a slot. The disk is not measured.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.adapters import AdapterLibrary
from descant.cli.bench_decode import Clock, Pace, RequestMaker, step
from descant.engine import DoneEvent, Engine, TokenEvent
from descant.model import LoraAdapter, save_adapter
from descant.schema.errors import InvalidConfig

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class TrafficConfig:
    """How many adapters there are, and what is asked of them.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    registered: int = 1000
    in_pool: int = 60
    """How many the engine's slots hold at once."""
    requests: int = 256
    in_flight: int = 32
    prompt_tokens: int = 128
    output_tokens: int = 64
    zipf_exponent: float = 1.0

    def __post_init__(self) -> None:
        for name in ("registered", "requests", "in_flight", "prompt_tokens", "output_tokens"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        if self.in_pool < self.in_flight:
            raise InvalidConfig("in_pool must hold all requests in flight.", field="in_pool")


def draw_names(names: Sequence[str], config: TrafficConfig, source: random.Random) -> list[str]:
    """Return the adapter of each request."""
    weights = [place**-config.zipf_exponent for place in range(1, len(names) + 1)]
    return source.choices(names, weights, k=config.requests)


def write_copies(folder: Path, adapter: LoraAdapter, count: int) -> list[str]:
    """Write adapter folders that differ in their scale and share their file of weights.

    Returns their names.
    """
    names = [f"copy-{index:04}" for index in range(count)]
    save_adapter(folder / names[0], adapter)
    settings = json.loads((folder / names[0] / _CONFIG).read_text())
    for index, name in enumerate(names[1:], start=1):
        (folder / name).mkdir()
        os.link(folder / names[0] / _WEIGHTS, folder / name / _WEIGHTS)
        scaled = settings | {"lora_alpha": settings["lora_alpha"] * (1 + index / count)}
        (folder / name / _CONFIG).write_text(json.dumps(scaled))
    return names


def make_resident(engine: Engine, adapters: Iterable[LoraAdapter]) -> None:
    """Put all of them into slots.

    Raises:
        InvalidConfig: the engine has not that many slots.
    """
    by_hash = {adapter.content_hash: adapter for adapter in adapters}
    if not engine.adapters.acquire(by_hash):
        raise InvalidConfig("The slots do not hold all adapters.", field="adapter_bytes")
    engine.adapters.release(by_hash)


class FirstUses:
    """Provides adapters, and times it for each that was not asked for before."""

    def __init__(self, engine: Engine, library: AdapterLibrary, clock: Clock):
        self.seconds: list[float] = []
        """For each adapter: reading its folder and filling a slot."""
        self._engine = engine
        self._library = library
        self._clock = clock
        self._seen: set[str] = set()

    def provide(self, name: str) -> LoraAdapter:
        """Return an adapter; when it is asked for first, it is in a slot as well."""
        if name in self._seen:
            return self._library.load(name)
        started = self._clock()
        adapter = self._library.load(name)
        # In the engine's next step, where this is done otherwise, it could not be told from the rest.
        make_resident(self._engine, [adapter])
        self.seconds.append(self._clock() - started)
        self._seen.add(name)
        return adapter


def run_traffic(
    engine: Engine,
    provide: Callable[[str], LoraAdapter],
    names: Sequence[str],
    config: TrafficConfig,
    maker: RequestMaker,
    clock: Clock,
) -> Pace:
    """Run one request for each name, `in_flight` of them at a time; the time is that of everything.

    Raises:
        DescantError: a request failed.
    """
    left, num_running, tokens = list(reversed(names)), 0, 0
    started = clock()
    while left or num_running:
        while left and num_running < config.in_flight:
            adapter = provide(left.pop())
            engine.submit(maker.request(config.prompt_tokens, config.output_tokens, adapter))
            num_running += 1
        for event in step(engine):
            tokens += isinstance(event, TokenEvent)
            num_running -= isinstance(event, DoneEvent)
    return Pace(tokens, clock() - started)
