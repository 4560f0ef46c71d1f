"""One HTTP exchange with a teacher: a body goes out, a whole reply comes in, or it is said why not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from descant.schema.errors import InvalidConfig

_MAX_REPLY_BYTES = 4 << 20
_QUOTED_CHARACTERS = 300


class NoReply(Exception):
    """Nothing usable came back; the teacher may have done the work and charge for it."""


class NotReached(NoReply):
    """The teacher was never asked."""


@dataclass(frozen=True)
class Reply:
    """What a teacher sent back."""

    status: int
    headers: Mapping[str, str]
    document: Any
    """The parsed JSON; None where it is none."""
    message: str
    """What it says is wrong, or how its text begins; without the key."""
    latency_s: float
    """From the request to the last byte."""


class Endpoint:
    """A teacher's address with a client for it; an async context manager.

    Raises:
        InvalidConfig: the address is none of HTTP, or carries a password or a query.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """`key` goes with every request and is never shown; `timeout_s` is for a whole reply."""
        self.url = _checked(url)
        self._clock = clock
        self._key = key
        self._timeout_s = timeout_s
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        # How many requests run at once is decided where they are made.
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(headers=headers, limits=limits, timeout=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def post(self, path: str, body: bytes) -> Reply:
        """Send a JSON body and return the reply, whatever its status.

        Raises:
            NotReached: there was no connection.
            NoReply: it took too long, broke off, or was larger than any answer.
        """
        return await self._send(self._client.build_request("POST", self.url + path, content=body))

    async def get(self, path: str) -> Reply:
        """Ask for a document and return the reply, whatever its status.

        Raises:
            NotReached: there was no connection.
            NoReply: it took too long, broke off, or was larger than any answer.
        """
        return await self._send(self._client.build_request("GET", self.url + path))

    async def _send(self, request: httpx.Request) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise NotReached(f"no connection to {self.url}: {self._without_key(error)}") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoReply(f"no reply within {self._timeout_s:g} s") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise NoReply(f"the reply broke off: {self._without_key(error)}") from error

    async def _exchange(self, request: httpx.Request) -> Reply:
        received, started_s = bytearray(), self._clock()
        async with aclosing(await self._client.send(request, stream=True)) as response:
            async for piece in response.aiter_bytes():
                received += piece
                if len(received) > _MAX_REPLY_BYTES:
                    raise NoReply(f"the reply is longer than {_MAX_REPLY_BYTES:,} bytes")
        document = _parse(bytes(received))
        message = _stated_error(document) or received.decode(errors="replace").strip()
        latency_s = self._clock() - started_s
        said = self._without_key(message)
        return Reply(response.status_code, response.headers, document, said, latency_s)

    def _without_key(self, text: object) -> str:
        """Some servers quote a key they refuse."""
        shown = str(text) if self._key is None else str(text).replace(self._key, "…")
        return shown[:_QUOTED_CHARACTERS]


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _not_an_address(f"{error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _not_an_address("it must begin with http:// or https://")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise _not_an_address("it carries a password or a query")
    return url.rstrip("/")


def _not_an_address(reason: str) -> InvalidConfig:
    # The address itself is not quoted: what is wrong with it may be a password.
    return InvalidConfig(
        f"The teacher's address cannot be used: {reason}.",
        field="teacher",
        remedy="Give it like http://127.0.0.1:8000/v1, and a key in the environment.",
    )


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _stated_error(document: Any) -> str | None:
    """Return the message of an error as OpenAI's API writes it, or as others do."""
    if not isinstance(document, dict):
        return None
    error = document.get("error", document)
    if isinstance(error, str):
        return error
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
