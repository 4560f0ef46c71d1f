"""Requests that are the same and under way at the same time ask upstream once.

The flight is a task of its own, so nobody who waits is special: whoever leaves, also the first to ask,
leaves the others undisturbed, and when nobody is left the flight is cancelled. What has come so far is
kept once for all; each reader has its own place in it, and who joins late reads from the first byte.

That memory is bounded. Once it is full nobody can join any more, what all have read is dropped, and
upstream waits for the readers; but a reader that keeps the others waiting is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from descant.schema.errors import ClientGone, ServerStopping

_log = logging.getLogger(__name__)
_STOPPING_WAIT_S = 5.0
Head = TypeVar("Head")


class Flight(Generic[Head]):
    """One request to upstream, as the work that makes it sees it."""

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._chunks: deque[bytes] = deque()
        self._num_dropped = 0
        self._held_bytes = 0
        self._head: Head | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        self._seats: set[Seat[Head]] = set()
        self._room = asyncio.Event()
        self._on_empty: Callable[[], None] = lambda: None

    @property
    def deadline_s(self) -> float:
        """When the last of those who wait now gives up; later if somebody patient joins."""
        return max((seat.deadline_s for seat in self._seats), default=float("-inf"))

    @property
    def num_waiting(self) -> int:
        """How many wait for it now."""
        return len(self._seats)

    @property
    def is_open(self) -> bool:
        """Whether who joins now would still get everything from the first byte."""
        return self._num_dropped == 0

    def begin(self, head: Head) -> None:
        """Tell everybody what comes before the first byte: status and headers."""
        self._head = head
        self._wake()

    async def write(self, chunk: bytes) -> None:
        """Give everybody the next bytes; waits while there is no room for them."""
        while self._chunks and self._held_bytes + len(chunk) > self._most_bytes:
            self._room.clear()
            self._drop_read()
            self._cut_off_last()
            if self._held_bytes + len(chunk) > self._most_bytes and self._chunks:
                await self._room.wait()
        self._chunks.append(chunk)
        self._held_bytes += len(chunk)
        self._wake()

    def finish(self) -> None:
        """Tell everybody that nothing more comes.

        What the work does afterwards, such as keeping the answer, delays nobody and is not cancelled
        when all have left; until it is done, who joins gets everything at once.
        """
        self._on_empty = lambda: None
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        for seat in self._seats:
            seat._news.set()

    def _drop_read(self) -> None:
        first = min((seat._place for seat in self._seats), default=0)
        while self._chunks and self._num_dropped < first:
            self._held_bytes -= len(self._chunks.popleft())
            self._num_dropped += 1

    def _cut_off_last(self) -> None:
        """Where one has read everything and another keeps the first byte, the other must go."""
        end = self._num_dropped + len(self._chunks)
        if not self._chunks or all(seat._place < end for seat in self._seats):
            return
        for seat in [seat for seat in self._seats if seat._place == self._num_dropped]:
            self._seats.remove(seat)
            seat._cut_off()
        self._drop_read()


class Seat(Generic[Head]):
    """One caller's place in a flight; leave it with `leave`, whatever happens."""

    def __init__(self, flight: Flight[Head], deadline_s: float, is_first: bool):
        self.deadline_s = deadline_s
        self.is_first = is_first
        """Whether the flight was begun for it; the others ride along."""
        self._flight = flight
        self._place = 0
        self._news = asyncio.Event()
        self._is_cut_off = False
        flight._seats.add(self)

    async def head(self) -> Head:
        """Return what comes before the first byte.

        Raises:
            Exception: whatever ended the flight before it.
        """
        flight = self._flight
        while flight._head is None:
            self._check()
            if flight._has_ended:
                raise RuntimeError("The flight ended without a head.")
            await self._wait()
        return flight._head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield every chunk from the first on.

        Raises:
            ClientGone: the caller read so slowly that others waited for it.
            Exception: whatever ended the flight, after the chunks that came before.
        """
        flight = self._flight
        while True:
            index = self._place - flight._num_dropped
            if self._is_cut_off or index >= len(flight._chunks):
                self._check()
                if flight._has_ended:
                    return
                await self._wait()
                continue
            self._place += 1
            chunk = flight._chunks[index]
            flight._room.set()
            yield chunk

    def leave(self) -> None:
        """Wait no longer; the flight is cancelled if nobody else does."""
        self._flight._seats.discard(self)
        self._flight._room.set()
        if not self._flight._seats:
            self._flight._on_empty()

    def _cut_off(self) -> None:
        self._is_cut_off = True
        self._news.set()

    def _check(self) -> None:
        if self._is_cut_off:
            raise ClientGone("This answer was read too slowly while others waited for it.")
        if self._flight._error is not None:
            raise self._flight._error

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


Work = Callable[[Flight[Head]], Awaitable[None]]


class SingleFlight(Generic[Head]):
    """The flights of one worker; for one event loop."""

    def __init__(self, most_bytes: int):
        """`most_bytes` is how much of an answer is kept for readers that are behind."""
        self._most_bytes = most_bytes
        self._open: dict[bytes, Flight[Head]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.num_begun = 0
        self.num_joined = 0

    def join(self, key: bytes, work: Work[Head], deadline_s: float) -> Seat[Head]:
        """Take a seat in the flight of this key; `work` makes one where there is none.

        `work` calls `Flight.begin` once, `Flight.write` for every chunk, and then `Flight.finish`; to
        leave no gap it puts the answer into the cache before it returns. `deadline_s` is when this
        caller gives up.
        """
        flight = self._open.get(key)
        if flight is not None and flight.is_open:
            self.num_joined += 1
            return Seat(flight, deadline_s, is_first=False)
        self.num_begun += 1
        return Seat(self._begin(key, work), deadline_s, is_first=True)

    async def close(self) -> None:
        """End every flight; who still waits is told that the server stops."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: bytes, work: Work[Head]) -> Flight[Head]:
        flight: Flight[Head] = Flight(self._most_bytes)
        task = asyncio.create_task(_fly(work, flight))

        def forget() -> None:
            if self._open.get(key) is flight:
                del self._open[key]

        def land(task: asyncio.Task[None]) -> None:
            forget()
            self._tasks.discard(task)
            error = _outcome(task)
            if not flight._has_ended:
                flight._end(error)
            elif error is not None:
                _log.error("After an answer was given: %r.", error)

        def abandon() -> None:
            forget()
            task.cancel()

        flight._on_empty = abandon
        task.add_done_callback(land)
        self._tasks.add(task)
        self._open[key] = flight
        return flight


async def _fly(work: Work[Head], flight: Flight[Head]) -> None:
    await work(flight)


def _outcome(task: asyncio.Task[None]) -> BaseException | None:
    if task.cancelled():
        error = ServerStopping("The server is stopping.", remedy="Ask again.")
        error.wait_s = _STOPPING_WAIT_S
        return error
    return task.exception()
