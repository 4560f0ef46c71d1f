"""What the gateway itself says over HTTP: OpenAI's shapes, and headers that are true."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson

from descant.schema.errors import DescantError

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
JSON = b"application/json"


async def send_answer(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes,
    headers: Iterable[tuple[bytes, bytes]],
) -> None:
    """Send a whole answer."""
    head = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: DescantError, headers: RawHeaders) -> None:
    """Send an error in OpenAI's shape."""
    all_headers = [*headers, *error_headers(error)]
    await send_answer(send, error.http_status, error_body(error), JSON, all_headers)


def error_body(error: DescantError) -> bytes:
    """Return an error as OpenAI's API writes it."""
    return orjson.dumps(
        {
            "error": {
                # What is quoted from a request may hold half of a surrogate pair.
                "message": str(error).encode(errors="replace").decode(),
                "type": _type_of(error.http_status),
                "code": error.code,
                "param": error.field,
            }
        }
    )


def error_headers(error: DescantError) -> RawHeaders:
    """Return when to ask again, in seconds and milliseconds, where that is known."""
    if error.wait_s is None or math.isinf(error.wait_s):
        return []
    wait_ms = math.ceil(error.wait_s * 1000)
    return [
        (b"retry-after", b"%d" % max(1, math.ceil(wait_ms / 1000))),
        (b"retry-after-ms", b"%d" % wait_ms),
    ]


def _type_of(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
