"""One fault after the other, while a crowd keeps asking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from benchmarks.gateway.crowd import Crowd, Part
from benchmarks.gateway.gateways import Gateway, Place, Running, Upstream
from benchmarks.gateway.memory import descendants
from benchmarks.gateway.mock.knobs import Fault
from benchmarks.gateway.mocks import MockProcess
from benchmarks.gateway.redis_server import RedisServer

UPSTREAMS = 3
UPSTREAM_CONCURRENCY = 32
MOST_AT_ONCE = UPSTREAMS * UPSTREAM_CONCURRENCY
KNOBS = {"latency": {"fixed_s": 0.02}, "gap_s": 0.005}
_IDLE_S = 1.0
"""How long an upstream may be silent."""
_RECOVERS_S = 10.0
_SETTLES_S = 1.0
"""Reservations may be given back a little after the answer."""
_BOOKS_WAIT_S = 1.5
_TRUSTED_WITHIN_S, _TRUSTED_AFTER, _LOOK_S = 15.0, 3, 0.2


@dataclass
class Seen:
    """What the drill leaves behind for its checks."""

    parts: dict[str, Part]
    killed_s: float
    at_once: Part
    served_tokens: int
    """What all upstreams answered."""
    met: Counter[str]
    """How often each fault was met."""


@dataclass
class Drill:
    """Everything that is up during it; the stack ends it."""

    stack: contextlib.ExitStack
    gateway: Gateway
    place: Place
    mocks: Sequence[MockProcess]
    redis: RedisServer | None
    seconds: float
    redis_gone_s: float
    gone_tokens: int = 0
    killed_s: float = 0.0
    met: Counter[str] = field(default_factory=Counter)

    async def run(self) -> Seen:
        """Do it all."""
        running = self._start()
        crowd = Crowd(running)
        await crowd.during("all is well", self._wait)
        for index, fault in enumerate(get_args(Fault)):
            # In turns, so that each has time to be trusted again.
            mock = self.mocks[index % len(self.mocks)]
            await crowd.during(f"before {fault}", partial(self._trusted, mock))
            await crowd.during(fault, partial(self._failing, mock, fault))
        await crowd.during("gone and come back", self._gone)
        await crowd.during("all upstreams fail", self._all_failing)
        await crowd.during("worker killed", partial(self._kill, crowd, running))
        if self.redis is not None and self.redis_gone_s:
            await crowd.during("Redis gone", partial(self._redis_gone, self.redis))
        await crowd.during("well again", partial(asyncio.sleep, _RECOVERS_S))
        await self._turn(self.mocks, latency={"fixed_s": 1.0})
        await asyncio.sleep(_SETTLES_S)
        at_once = await crowd.at_once("as many as may be", MOST_AT_ONCE)
        await asyncio.sleep(_BOOKS_WAIT_S)
        tokens = self.gone_tokens + sum(mock.state()["tokens"] for mock in self.mocks)
        parts = {part.name: part for part in crowd.parts}
        return Seen(parts, self.killed_s, at_once, tokens, self.met)

    def _start(self) -> Running:
        upstreams = [
            Upstream(
                f"mock{index}", mock.url, idle_timeout_s=_IDLE_S, concurrency=UPSTREAM_CONCURRENCY
            )
            for index, mock in enumerate(self.mocks)
        ]
        return self.stack.enter_context(self.gateway.up(upstreams, self.place))

    async def _wait(self) -> None:
        await asyncio.sleep(self.seconds)

    async def _turn(self, mocks: Sequence[MockProcess], **knobs: object) -> None:
        for mock in mocks:
            await asyncio.to_thread(mock.turn, **knobs)

    async def _failing(self, mock: MockProcess, fault: str) -> None:
        await self._turn([mock], faults={fault: 1.0})
        await self._wait()
        await self._turn([mock], faults={})
        outcomes = (await asyncio.to_thread(mock.state))["outcomes"]
        self.met[fault] = outcomes.get(fault, 0)

    async def _trusted(self, mock: MockProcess) -> None:
        """Wait until an upstream is asked again; a fault that nobody meets shows nothing."""
        until = await self._answered(mock) + _TRUSTED_AFTER
        for _ in range(round(_TRUSTED_WITHIN_S / _LOOK_S)):
            if await self._answered(mock) >= until:
                return
            await asyncio.sleep(_LOOK_S)

    async def _answered(self, mock: MockProcess) -> int:
        return int((await asyncio.to_thread(mock.state))["outcomes"].get("answered", 0))

    async def _gone(self) -> None:
        mock = self.mocks[0]
        self.gone_tokens += (await asyncio.to_thread(mock.state))["tokens"]
        await asyncio.to_thread(mock.go)
        await self._wait()
        await asyncio.to_thread(self.stack.enter_context, mock.up())
        await self._wait()

    async def _all_failing(self) -> None:
        await self._turn(self.mocks, faults={"error_500": 1.0})
        await self._wait()
        await self._turn(self.mocks, faults={})

    async def _kill(self, crowd: Crowd, running: Running) -> None:
        """Kill one worker; where the gateway is one process, all of it, and start it again."""
        assert running.pid is not None, "started here"
        workers = descendants(running.pid)
        await self._wait()
        self.killed_s = time.perf_counter()
        os.kill(workers[-1] if workers else running.pid, signal.SIGKILL)
        if not workers:
            crowd.turn_to(await asyncio.to_thread(self._start))
        await self._wait()

    async def _redis_gone(self, redis: RedisServer) -> None:
        await asyncio.to_thread(redis.go)
        await asyncio.sleep(self.redis_gone_s)
        await asyncio.to_thread(self.stack.enter_context, redis.up())
        await self._wait()
