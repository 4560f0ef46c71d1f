"""What happens around every request: its id, its size limit, its metrics and its log line.

Pure ASGI. The body is read here, up to the limit, before anything looks at it; only where bodies are
streamed does it pass on as it comes, up to a limit of its own. The response passes through untouched
but for its headers.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from descant.monitoring import Metrics, RequestLog, RequestRecord
from descant.server.errors import refuse

REQUEST_ID = "x-request-id"

_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_HANG_UP = MappingProxyType({"connection": "close"})
"""To keep the connection, the rest of a body that is too large would have to be read."""

_FORGOTTEN_BYTES = 8 << 20

_log = logging.getLogger(__name__)


def new_request_id() -> str:
    """Return an id no other request has."""
    return uuid.uuid4().hex


class RequestContext:
    """Wraps an app; answers what the app fails to answer.

    `streamed_bytes` has the limit of every path that reads its body piece by piece.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        request_log: RequestLog | None,
        max_request_bytes: int,
        clock: Callable[[], float],
        streamed_bytes: Mapping[str, int] = MappingProxyType({}),
    ):
        self._app = app
        self._metrics = metrics
        self._request_log = request_log
        self._max_request_bytes = max_request_bytes
        self._clock = clock
        self._streamed_bytes = streamed_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(_request_id(scope), send)
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        started = self._clock()
        try:
            await self._answer(scope, receive, exchange)
        finally:
            self._report(scope, exchange, self._clock() - started)

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        try:
            if scope["path"] in self._streamed_bytes:
                limit = self._streamed_bytes[scope["path"]]
                await self._app(scope, _limit(scope, receive, limit), exchange.send)
            else:
                await self._read_and_answer(scope, receive, exchange)
        except ClientDisconnect:
            return
        except Exception:
            _log.exception("Request %s failed", exchange.request_id)
            if exchange.status is not None:
                raise
            message = f"An internal error; the log has it under {exchange.request_id}."
            failure = refuse(Request(scope), 500, message, "internal_error")
            await failure(scope, receive, exchange.send)

    async def _read_and_answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        body, is_read = await _read_body(scope, receive, self._max_request_bytes)
        if body is None:
            message, headers = _too_large(self._max_request_bytes), {} if is_read else _HANG_UP
            refusal = refuse(Request(scope), 413, message, "request_too_large", headers=headers)
            await refusal(scope, receive, exchange.send)
        else:
            await self._app(scope, _replay(body, receive), exchange.send)

    def _report(self, scope: Scope, exchange: _Exchange, time_s: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Nothing was sent when the caller had gone; 499 is what proxies write for that.
        status = exchange.status or 499
        self._metrics.count_request(route, status)
        if self._request_log is None:
            return
        state = scope["state"]
        usage: Mapping[str, int] = state.get("usage", {})
        record = RequestRecord(
            exchange.request_id, route, status, time_s, error=state.get("error_code"), **usage
        )
        self._request_log.write(record)


@dataclass
class _Exchange:
    """What is known of one response while it is sent."""

    request_id: str
    _send: Send
    status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.request_id
        await self._send(message)


def _request_id(scope: Scope) -> str:
    offered = Headers(scope=scope).get(REQUEST_ID, "")
    return offered if _USABLE_ID.fullmatch(offered) else new_request_id()


async def _read_body(scope: Scope, receive: Receive, limit: int) -> tuple[bytes | None, bool]:
    """Return the body, or None if it is longer than `limit`, and whether all of it has been read.

    Of one that is too long somewhat more is read and forgotten: many callers listen only when they
    have sent everything.
    """
    most_bytes = limit + _FORGOTTEN_BYTES
    body, num_bytes = bytearray(), 0
    while max(num_bytes, _declared_bytes(scope)) <= most_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        num_bytes += len(message.get("body", b""))
        if num_bytes <= limit:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return (bytes(body) if num_bytes <= limit else None), True
    return None, False


def _limit(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Pass the body on as it comes; a longer one is refused where the app reads it."""
    read_bytes = 0

    async def limited() -> Message:
        nonlocal read_bytes
        message = await receive()
        read_bytes += len(message.get("body", b""))
        if max(read_bytes, _declared_bytes(scope)) > limit:
            raise HTTPException(413, _too_large(limit), dict(_HANG_UP))
        return message

    return limited


def _declared_bytes(scope: Scope) -> int:
    declared = Headers(scope=scope).get("content-length", "0")
    return int(declared) if declared.isdigit() else 0


def _too_large(limit: int) -> str:
    return f"The request has more than {limit} bytes."


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
