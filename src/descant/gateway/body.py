"""The body of a request: whole, in time and not too large."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from descant.gateway.config import ServerConfig
from descant.schema.errors import BodyTooLarge, BodyTooSlow, ClientGone, UnsupportedEncoding

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_LINGER_S = 1.0


class Body:
    """What follows the head of one request; read once."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], bounds: ServerConfig):
        self._receive = receive
        self._headers = headers
        self._bounds = bounds
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing more of it will come."""
        return self._is_whole

    async def read(self) -> bytes:
        """Return all of it; what its head says is too much is refused before a byte is asked for.

        Raises:
            BodyTooLarge: it has more bytes than may be sent.
            BodyTooSlow: it is not whole in time.
            ClientGone: its sender hung up.
            UnsupportedEncoding: it is compressed.
        """
        if self._headers.get(b"content-encoding", b"identity") != b"identity":
            raise UnsupportedEncoding("The request is encoded.", remedy="Send it as plain JSON.")
        self._check(int(self._headers.get(b"content-length", 0)))
        try:
            async with asyncio.timeout(self._bounds.body_timeout_s):
                return await self._all()
        except TimeoutError as error:
            message = f"The request was not whole after {self._bounds.body_timeout_s:g} s."
            raise BodyTooSlow(message) from error

    async def discard(self) -> None:
        """Let the sender send on for a moment: hung up on in mid-sentence, it reads no answer."""
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(_LINGER_S):
                while not self._is_whole:
                    await self._next()

    async def _all(self) -> bytes:
        first = await self._next()
        self._check(len(first))
        if self._is_whole:
            return first
        parts = bytearray(first)
        while not self._is_whole:
            parts += await self._next()
            self._check(len(parts))
        return bytes(parts)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The caller hung up before the request was whole.")
        self._is_whole = not message.get("more_body")
        part: bytes = message.get("body", b"")
        return part

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._bounds.max_body_bytes:
            raise BodyTooLarge(
                "The request has more bytes than may be sent.", remedy="Send less at once."
            )
