"""A second upstream is asked while the first one is silent: the quicker one answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine

from descant.gateway.failures import Try
from descant.gateway.reply import AnyReply, StreamedReply, Tally, WholeReply, begun
from descant.gateway.watching import Timings

Visiting = Callable[[Try, Tally], Coroutine[object, object, AnyReply | None]]
"""Asks one upstream; None: it has no answer, and another one may be asked."""


class Race:
    """Visits of one call, each with a tally of its own; to be closed, whatever happens."""

    def __init__(self, visiting: Visiting, timings: Timings | None):
        self._visiting = visiting
        self._timings = timings
        self._racers: dict[asyncio.Task[AnyReply | None], Tally] = {}
        self._winner: asyncio.Task[AnyReply | None] | None = None

    def enter(self, tried: Try) -> None:
        """Begin to ask one."""
        tally = Tally(timings=self._timings)
        self._racers[asyncio.ensure_future(self._visiting(tried, tally))] = tally

    async def has_ended(self, within_s: float) -> bool:
        """Return whether any visit is over by then."""
        done, _ = await asyncio.wait(self._racers, timeout=max(0.0, within_s))
        return bool(done)

    async def winner(self) -> AnyReply | None:
        """Return the first answer there is; None if nobody has one."""
        running = set(self._racers)
        while running:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in self._racers:
                if task.done() and (reply := task.result()) is not None:
                    self._winner = task
                    return reply
        return None

    async def close(self, told: Tally) -> None:
        """End all visits but the winner's, and tell what all of them took."""
        for task in self._racers:
            task.cancel()
        try:
            await asyncio.gather(*self._racers, return_exceptions=True)
        except asyncio.CancelledError:
            # Nobody is left to read what was won.
            self._winner = None
            raise
        finally:
            for task in self._racers:
                if task is not self._winner:
                    await _let_go(task)
            self._tell(told)

    async def told(self, reply: AnyReply, told: Tally) -> AnyReply:
        """Return the winner's answer, which tells what it took as soon as that is known."""
        assert self._winner is not None, "somebody has won"
        own = self._racers[self._winner]
        if isinstance(reply, WholeReply):
            return reply
        return StreamedReply(await begun(_telling(reply, own, told)), reply.upstream)

    def _tell(self, told: Tally) -> None:
        answered = None if self._winner is None else self._racers[self._winner]
        for tally in self._racers.values():
            told.visited += tally.visited
            if answered is None and tally.usage is not None:
                answered = tally
            elif tally is not answered and tally.usage is not None:
                told.lost.append(tally)
        if answered is not None:
            told.take_answer(answered)


async def _let_go(task: asyncio.Task[AnyReply | None]) -> None:
    if task.cancelled() or task.exception() is not None:
        return
    reply = task.result()
    if isinstance(reply, StreamedReply):
        await reply.close()


async def _telling(reply: StreamedReply, own: Tally, told: Tally) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        async for piece in reply.pieces:
            yield piece
    finally:
        await reply.close()
        told.take_answer(own)
