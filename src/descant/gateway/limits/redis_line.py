"""One connection to Redis on which the scripts of many requests travel together.

While an answer is awaited, what else is asked waits and goes out as one, so a burst of requests does
not open a burst of connections, and a caller who leaves breaks off nobody's answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from descant.gateway.limits.redis_script import Script

GONE = (RedisError, OSError)
"""What is raised where Redis does not answer in time, or answers with an error."""
_MOST_AT_ONCE = 50
_SLICES = 10
"""Of the time for an answer."""


@dataclass(frozen=True, slots=True)
class _Order:
    script: Script
    keys: Sequence[str]
    payload: bytes
    answer: asyncio.Future[Any]


def connect(url: str) -> Redis:
    """Return a client that neither repeats a command by itself nor waits between attempts."""
    client: Redis = Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0))
    return client


class RedisLine:
    """Sends scripts in the order in which they are asked for; for one event loop.

    A round trip may take half of `answer_s`: who comes while one is under way waits for two.
    """

    def __init__(self, client: Redis, answer_s: float):
        self._client = client
        self._answer_s = answer_s
        self._waiting: list[_Order] = []
        self._sender: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], payload: bytes) -> Any:
        """Return the script's answer.

        Raises:
            RedisError: Redis is gone, or the script failed.
            TimeoutError: there was no answer in time; the script may yet run.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Order(script, keys, payload, answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        return await answer

    async def ping(self) -> None:
        """Return once Redis answers; raises as `run` does."""
        async with asyncio.timeout(self._answer_s):
            await self._client.ping()

    async def aclose(self) -> None:
        """Break off what is awaited, and close the connection."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        await self._client.aclose()

    async def _send_all(self) -> None:
        while self._waiting:
            batch = [order for order in self._waiting[:_MOST_AT_ONCE] if not order.answer.done()]
            del self._waiting[:_MOST_AT_ONCE]
            try:
                await self._send_in_time(batch)
            except asyncio.CancelledError:
                self._fail(batch, ConnectionError("the connection was closed."))
                raise
            except Exception as error:
                # Whatever it was, whoever waits is told.
                self._fail(batch, error)

    async def _send_in_time(self, batch: Sequence[_Order]) -> None:
        sending = asyncio.ensure_future(self._send(batch))
        try:
            # In slices: an event loop that was busy itself must not find the time over while the
            # answer lies in its socket.
            for _ in range(_SLICES):
                await asyncio.wait({sending}, timeout=self._answer_s / 2 / _SLICES)
                if sending.done():
                    return sending.result()
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        raise TimeoutError

    def _fail(self, batch: Sequence[_Order], error: Exception) -> None:
        behind, self._waiting = self._waiting, []
        for order in (*batch, *behind):
            _answer(order, error)

    async def _send(self, batch: Sequence[_Order]) -> None:
        unknown: list[_Order] = []
        for order, reply in zip(batch, await self._replies(batch, by_sha=True), strict=True):
            if isinstance(reply, NoScriptError):
                unknown.append(order)
            else:
                _answer(order, reply)
        if unknown:
            replies = await self._replies(unknown, by_sha=False)
            for order, reply in zip(unknown, replies, strict=True):
                _answer(order, reply)

    async def _replies(self, batch: Sequence[_Order], by_sha: bool) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for order in batch:
                name, text = (
                    ("EVALSHA", order.script.sha) if by_sha else ("EVAL", order.script.text)
                )
                pipeline.execute_command(name, text, len(order.keys), *order.keys, order.payload)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies


def _answer(order: _Order, reply: Any) -> None:
    if order.answer.done():
        return
    if isinstance(reply, Exception):
        order.answer.set_exception(reply)
    else:
        order.answer.set_result(reply)
