"""The body of a request: whole, in time and not too large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from descant.schema.errors import BodyTooLarge, BodyTooSlow, ClientGone

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


async def read_body(receive: Receive, most_bytes: int, timeout_s: float) -> bytes:
    """Return the body of an ASGI request.

    Raises:
        BodyTooLarge: it has more bytes than that.
        BodyTooSlow: it is not whole by then.
        ClientGone: its sender hung up.
    """
    message = await _first(receive, timeout_s)
    if not message.get("more_body"):
        return _checked(message.get("body", b""), most_bytes)
    parts = bytearray(message["body"])
    try:
        async with asyncio.timeout(timeout_s):
            while message.get("more_body"):
                message = await receive()
                parts += _checked(_content(message), most_bytes - len(parts))
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error
    return bytes(parts)


async def _first(receive: Receive, timeout_s: float) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error
    _content(message)
    return message


def _content(message: Mapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone("The caller hung up before the request was whole.")
    body: bytes = message.get("body", b"")
    return body


def _checked(body: bytes, most_bytes: int) -> bytes:
    if len(body) > most_bytes:
        raise BodyTooLarge(
            "The request has more bytes than may be sent.", remedy="Send less at once."
        )
    return body


def _too_slow(timeout_s: float) -> BodyTooSlow:
    return BodyTooSlow(f"The request was not whole after {timeout_s:g} s.")
