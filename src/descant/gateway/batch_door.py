"""Requests about files and batches: let in like any other, asked at the desk, sent back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from descant.gateway.answers import (
    JSON,
    RawHeaders,
    Send,
    error_body,
    error_headers,
    send_answer,
)
from descant.gateway.batches import Ask, DepotRefused, Desk, Download, Stalled, read_query
from descant.gateway.body import Receive
from descant.gateway.books import Fetch, limit_reached
from descant.gateway.call import Caller
from descant.gateway.dialects.document import dump
from descant.gateway.limits import Amounts, Refusal
from descant.gateway.settings import Settings
from descant.gateway.worker import Worker
from descant.schema.errors import ClientGone, DescantError, NotFound, ServerStopping

_log = logging.getLogger(__name__)
_LINES = b"application/jsonl"
_ONE_REQUEST = Amounts(1)


class BatchDoor:
    """Keys, limits on requests, and the books are the worker's."""

    def __init__(self, worker: Worker):
        self._worker = worker

    async def answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: RawHeaders = [(b"x-request-id", uuid.uuid4().hex.encode())]
        visit = _Visit(self._worker, headers)
        with self._worker.drain.running():
            try:
                await visit.run(scope, receive, send)
            except ClientGone:
                return
            except DepotRefused as refused:
                await send_answer(send, refused.status, refused.body, JSON, headers)
            except DescantError as error:
                await visit.refuse(error, send)
            except Exception:
                _log.exception("Request %s failed", headers[0][1].decode())
                await visit.refuse(DescantError("An internal error."), send)


class _Visit:
    def __init__(self, worker: Worker, headers: RawHeaders):
        self._worker = worker
        self._settings: Settings = worker.settings
        self._headers = headers
        self._has_begun = False

    async def run(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        desk = self._settings.desk
        if self._worker.drain.is_draining:
            raise ServerStopping("The gateway is stopping.")
        if desk is None:
            raise NotFound(f"There is nothing at {scope['path']}.")
        headers = dict(scope["headers"])
        caller = self._settings.keys.caller(headers)
        query = read_query(scope["query_string"])
        ask = Ask(scope["method"], scope["path"], query, headers, caller, receive)
        await self._within_limits(desk, ask, send)

    async def refuse(self, error: DescantError, send: Send) -> None:
        self._worker.observing.metrics.count_refusal(error.code)
        if self._has_begun:
            return  # Without its end, uvicorn closes the connection: the caller sees a broken file.
        headers = [*self._headers, *error_headers(error)]
        if error.http_status in (408, 413):
            headers.append((b"connection", b"close"))
        await send_answer(send, error.http_status, error_body(error), JSON, headers)

    async def _within_limits(self, desk: Desk, ask: Ask, send: Send) -> None:
        """Count it as a request without tokens; where money is spent, none passes."""
        limits, claims = self._worker.lasting.limits, self._settings.claims.of_caller(ask.caller)
        if not claims:
            return await self._answer(desk, ask, send)
        held = await limits.reserve(claims, _ONE_REQUEST)
        if isinstance(held, Refusal):
            raise limit_reached(held)
        try:
            await self._answer(desk, ask, send)
        finally:
            await limits.settle(held, _ONE_REQUEST)

    async def _answer(self, desk: Desk, ask: Ask, send: Send) -> None:
        found = await desk.answer(ask)
        if isinstance(found, Download):
            await self._pass_on(desk, found, ask.caller, send)
        else:
            await send_answer(send, 200, dump(found), JSON, self._headers)

    async def _pass_on(self, desk: Desk, download: Download, caller: Caller, send: Send) -> None:
        headers = [(b"content-type", _LINES), *self._headers]
        if download.length is not None:
            headers.append((b"content-length", download.length.encode()))

        async def give(piece: bytes) -> None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        self._has_begun = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        upstream = self._settings.fleet[desk.config.upstream]
        fetch = Fetch(caller, upstream, download.raw_id, desk.config.price_share)
        books = self._worker.lasting.books
        try:
            books.note_batch(fetch, await download.pass_on(give))
        except Stalled as stalled:
            books.note_batch(fetch, stalled.found)
            raise
        await send({"type": "http.response.body", "body": b""})
