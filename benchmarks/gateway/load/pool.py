"""Connections that are kept between requests."""

from __future__ import annotations

import asyncio
import time

from benchmarks.gateway.load.connection import Address, Answer, Connection


class Pool:
    """At most so many connections to one server."""

    def __init__(self, address: Address, most: int) -> None:
        self._address = address
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(most)

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send a request over the connection that was used last, or a new one."""
        async with self._room:
            try:
                connection = await self._take()
            except OSError:
                now_s = time.perf_counter()
                return Answer(now_s, error="connect", ended_s=now_s)
            # Whoever stops waiting breaks the connection: its answer may still come.
            answer = await connection.ask(request, timeout_s)
            if connection.is_open:
                self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Close those that are idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await Connection.open(self._address)
