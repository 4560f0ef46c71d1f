"""How late the event loop does what is due: the time that something else kept it busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def watch_loop(
    observe: Callable[[float], None],
    interval_s: float = 0.05,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Sleep again and again, and observe by how many seconds each waking is late; until cancelled.

    A loop that is held up for long wakes once: a long hold counts once, however long it is.
    """
    while True:
        due_s = clock() + interval_s
        await sleep(interval_s)
        observe(max(0.0, clock() - due_s))
