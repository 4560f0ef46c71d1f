"""What outlives a change of the settings: counts, books, caches, and what was learned."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from descant.gateway.books import Books
from descant.gateway.cache import (
    AnswerStore,
    Bounds,
    EmbeddingTier,
    LayeredStore,
    LocalStore,
    SingleFlight,
)
from descant.gateway.config import GatewayConfig
from descant.gateway.contents import Contents
from descant.gateway.economy import EconomyView, TokenEstimator
from descant.gateway.exchange import Patience
from descant.gateway.ledger import Ledger
from descant.gateway.limits import (
    InProcessLimits,
    Limits,
    Period,
)
from descant.gateway.reply import ReplyHead
from descant.gateway.routing import Memory
from descant.gateway.semantics import Semantics
from descant.gateway.shadowing import Shadowing
from descant.gateway.watching import Tracing, open_tracing

_FLIGHT_BYTES = 4 << 20
_EMBEDDING_BOUNDS = Bounds(most_bytes=32_000_000)
_NEAR_BOUNDS = Bounds(most_bytes=16_000_000)
"""Of answers that all workers share, each keeps those it used last."""


@dataclass
class Lasting:
    """One worker's; to be opened in its event loop."""

    limits: Limits
    answers: AnswerStore
    ledger: Ledger | None
    books: Books
    estimator: TokenEstimator
    shadowing: Shadowing
    tracing: Tracing
    economy: EconomyView = field(default_factory=EconomyView)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    random: Callable[[], float] = random.random
    patience: Patience = field(default_factory=Patience)
    flights: SingleFlight[ReplyHead] = field(default_factory=lambda: SingleFlight(_FLIGHT_BYTES))
    embeddings: EmbeddingTier = field(
        default_factory=lambda: EmbeddingTier(_EMBEDDING_BOUNDS, time.monotonic)
    )
    semantics: Semantics = field(
        default_factory=lambda: Semantics(time.monotonic, random.SystemRandom().random)
    )
    contents: Contents = field(default_factory=Contents)
    memory: Memory = field(default_factory=lambda: Memory(time.monotonic))

    @classmethod
    def open(cls, config: GatewayConfig, num_workers: int) -> Lasting:
        """Open the books and the counts.

        Raises:
            InvalidConfig: the ledger's place cannot be used.
        """
        state = config.state
        limits, answers = _stores(state.redis, num_workers)
        ledger = None if state.ledger is None else Ledger.open(state.ledger)
        books = Books(limits, ledger, time.monotonic, time.time)
        estimator = TokenEstimator(config.server.default_max_tokens)
        log = None if state.trial_log is None else Path(state.trial_log)
        shadowing = Shadowing(log, time.monotonic)
        tracing = open_tracing(config.tracing, f"worker-{os.getpid()}")
        return cls(limits, answers, ledger, books, estimator, shadowing, tracing)

    async def seed(self, config: GatewayConfig) -> None:
        """Take over what the books say was spent today and this month.

        Raises:
            LedgerUnavailable: the books cannot be read.
        """
        budgeted = {
            (kind, name)
            for kind, limits in (("key", config.keys), ("tenant", config.tenants))
            for name, each in limits.items()
            if each.has_budget
        }
        if self.ledger is None or not budgeted:
            return
        today = datetime.fromtimestamp(self.wall_clock(), UTC).date()
        periods: tuple[tuple[Period, date], ...] = (("day", today), ("month", today.replace(day=1)))
        for period, start in periods:
            spent = await asyncio.to_thread(self.ledger.spent, start)
            for (kind, name), nano in spent.items():
                if (kind, name) in budgeted:
                    await self.limits.seed(f"{kind}:{name}", period, start, nano)

    async def close(self) -> None:
        """End flights, write the books to the end, and let go of Redis."""
        await self.flights.close()
        await self.shadowing.close()
        await self.limits.aclose()
        await asyncio.to_thread(self.tracing.close)
        if self.ledger is not None:
            await asyncio.to_thread(self.ledger.close)


def _stores(redis: str | None, num_workers: int) -> tuple[Limits, AnswerStore]:
    if redis is None:
        return InProcessLimits(), LocalStore(Bounds(), time.monotonic)
    # A worker that has no use for Redis does without the megabytes of its client.
    from descant.gateway.cache.redis_store import RedisStore, RedisStoreConfig
    from descant.gateway.limits.shared import connect, shared_limits

    client = connect(redis)
    far = RedisStore(client, RedisStoreConfig(), time.monotonic)
    answers = LayeredStore(LocalStore(_NEAR_BOUNDS, time.monotonic), far)
    return shared_limits(client, num_workers), answers
