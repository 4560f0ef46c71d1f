"""What every route works with: the model, its engine's thread, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from descant.adapters import RegistryFollower
from descant.llm import LLM
from descant.monitoring import Metrics
from descant.schema import Indicator
from descant.schema.errors import InvalidConfig
from descant.server.batches import BatchConfig
from descant.server.engine_thread import EngineThread
from descant.server.trial import Trial
from descant.text import GrammarCompiler


@dataclass(frozen=True)
class ServerConfig:
    """Limits of the server.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    max_request_bytes: int = 2 << 20
    max_requests: int = 1024
    """Requests waiting or running; one more is answered 429."""
    keys_file: Path | None = None
    """Who may ask, see `descant.server.keys`; None: everybody."""
    batches: BatchConfig | None = None
    """Where files and batches are kept; None: they are not offered."""
    drain_s: float = 30.0
    """How long requests under way have to finish when the server stops."""

    def __post_init__(self) -> None:
        for name in ("max_request_bytes", "max_requests"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)


@dataclass(frozen=True)
class Service:
    """One base model being served."""

    llm: LLM
    """Its engine belongs to the thread; everything else may be used from any."""
    engine: EngineThread
    indicators: tuple[Indicator, ...]
    metrics: Metrics
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    """Seconds since 1970, as OpenAI's objects state when they were created."""
    follower: RegistryFollower | None = None
    """Keeps the adapters as a registry says; None: there is none."""
    trial: Trial | None = None
    """Asks challengers beside champions; None: nobody does."""

    def created_now(self) -> int:
        """Return the time of day as OpenAI's objects state it."""
        return int(self.now())

    def known_indicators(self) -> tuple[Indicator, ...]:
        """Return those of the champions it follows, and those it was started with beside them."""
        followed = () if self.follower is None else self.follower.indicators
        named = {indicator.name for indicator in followed}
        return (*(old for old in self.indicators if old.name not in named), *followed)

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """Compiles what answers have to follow; made when first needed, since that takes a while."""
        return GrammarCompiler(self.llm.tokenizer, self.llm.vocab_size)

    @classmethod
    def start(
        cls,
        llm: LLM,
        indicators: Sequence[Indicator],
        metrics: Metrics,
        config: ServerConfig,
        clock: Callable[[], float],
        follower: RegistryFollower | None = None,
        trial: Trial | None = None,
    ) -> Service:
        """Start the engine's thread; from now on nothing else may run the engine."""
        engine = EngineThread(llm.engine, config.max_requests, metrics.take_engine_stats)
        return cls(llm, engine, tuple(indicators), metrics, clock, follower=follower, trial=trial)
