"""Whether a process still takes requests, and how many it is answering."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Drain:
    """Whether requests are still taken, and how many are running."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._is_draining

    @property
    def is_idle(self) -> bool:
        """Whether no request is running."""
        return not self._in_flight

    def begin(self) -> None:
        """Refuse new requests from now on; may be called from a signal handler."""
        self._is_draining = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request until it is answered."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def finish(self, timeout_s: float) -> bool:
        """Refuse new requests and return whether all running ones ended in time."""
        self.begin()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
