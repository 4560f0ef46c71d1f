"""A load, generated in the running event loop."""

from __future__ import annotations

import asyncio
import itertools
import time

from benchmarks.gateway.load.measured import Measured
from benchmarks.gateway.load.pool import Pool
from benchmarks.gateway.load.spec import ClosedLoop, Load, OpenLoop


async def generate(load: Load) -> Measured:
    """Send it all and return what was measured, once everything is answered or given up."""
    pool = Pool(load.target.address, load.connections)
    sender = _Sender(load, pool)
    started_s = time.perf_counter()
    if isinstance(load.loop, ClosedLoop):
        await sender.closed(load.loop, started_s)
    else:
        await sender.open(load.loop, started_s)
    pool.close()
    sender.measured.elapsed_s = time.perf_counter() - started_s
    return sender.measured


class _Sender:
    def __init__(self, load: Load, pool: Pool) -> None:
        self._load = load
        self._pool = pool
        self._requests = itertools.cycle(load.target.requests())
        self.measured = Measured()

    async def closed(self, loop: ClosedLoop, started_s: float) -> None:
        """Let every client ask until the time is over."""
        ends_s = started_s + self._load.duration_s

        async def client() -> None:
            while (now_s := time.perf_counter()) < ends_s:
                await self._ask(now_s)

        await asyncio.gather(*(client() for _ in range(loop.clients)))

    async def open(self, loop: OpenLoop, started_s: float) -> None:
        """Send every request when it is due."""
        async with asyncio.TaskGroup() as asked:
            for at_s in loop.times_s(self._load.duration_s):
                due_s = started_s + at_s
                # Timers count in milliseconds: the last part of the wait is many short ones.
                while (wait_s := due_s - time.perf_counter()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(wait_s)
                asked.create_task(self._ask(due_s))

    async def _ask(self, due_s: float) -> None:
        answer = await self._pool.ask(next(self._requests), self._load.timeout_s)
        self.measured.note(due_s, answer)
