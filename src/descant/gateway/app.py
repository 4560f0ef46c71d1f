"""The gateway of one worker, as an ASGI app."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from descant.gateway.answering import Errand
from descant.gateway.answers import RawHeaders, error_body, send_answer, send_error
from descant.gateway.batch_door import BatchDoor
from descant.gateway.body import Body, Receive
from descant.gateway.books import Entry
from descant.gateway.cache import StreamRecording
from descant.gateway.call import PATHS, Call, Operation
from descant.gateway.connection import Connection
from descant.gateway.dialects.azure import openai_path
from descant.gateway.intake import client_id
from descant.gateway.ledger import Outcome
from descant.gateway.pages import Pages
from descant.gateway.reply import EVENT_STREAM, JSON, AnyReply, StreamedReply, Tally
from descant.gateway.settings import Settings
from descant.gateway.shadowing import Asking
from descant.gateway.watching import Timings
from descant.gateway.worker import Worker
from descant.schema.errors import (
    ClientGone,
    DeadlineExceeded,
    DescantError,
    LimitReached,
    ServerStopping,
)

_log = logging.getLogger(__name__)
_STOPPING_WAIT_S = 5.0
_LAST_WORDS_S = 1.0
_MOST_RECORDED_BYTES = 4 << 20

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Scope = Mapping[str, Any]


class Gateway:
    """Answers HTTP requests; everything that lasts is the worker's."""

    def __init__(self, worker: Worker):
        self._worker = worker
        self._pages = Pages(worker)
        self._batch_door = BatchDoor(worker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the process's life and one HTTP request each; websockets are not spoken."""
        if scope["type"] == "lifespan":
            scope["state"]["bounds"] = lambda: self._worker.settings.config.server
            await self._live(receive, send)
        elif scope["type"] == "http":
            if scope["path"].startswith("/openai/"):
                scope = {**scope, "path": openai_path(scope["path"])}
            operation = PATHS.get(scope["path"])
            if operation is not None and scope["method"] == "POST":
                await self._serve(operation, scope, receive, send)
            elif scope["path"].startswith(("/v1/files", "/v1/batches")):
                await self._batch_door.answer(scope, receive, send)
            else:
                await self._pages.answer(scope, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._worker.start()
        except DescantError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._worker.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(
        self, operation: Operation, scope: Scope, receive: Receive, send: Send
    ) -> None:
        worker = self._worker
        settings, timings = worker.settings, Timings(worker.lasting.clock)
        received_s = worker.lasting.clock()
        headers = dict(scope["headers"])
        body = Body(receive, headers, settings.config.server)
        try:
            if worker.drain.is_draining:
                raise _stopping()
            # Whoever has no key makes nobody hold a body.
            settings.keys.caller(headers)
            raw = await body.read()
            timings.mark("read")
            call = settings.intake.read(operation, headers, raw, received_s)
            timings.mark("auth")
        except ClientGone:
            return
        except DescantError as error:
            worker.observing.metrics.count_refusal(error.code)
            await _refuse_early(send, error, body)
            return
        with worker.drain.running():
            await _Service(worker, settings, call, headers, timings).run(receive, send)


class _Service:
    """One call from its limits to its last byte and its line in the books."""

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        call: Call,
        headers: Mapping[bytes, bytes],
        timings: Timings,
    ):
        self._worker, self._settings = worker, settings
        self._call, self._headers = call, headers
        self._entry = Entry(call, Tally(timings=timings))
        self._span = worker.begin_span(call, headers)
        self._has_begun = False
        self._is_streaming = False
        self._is_open = False
        """Whether the caller still waits for more of a stream."""

    async def run(self, receive: Receive, send: Send) -> None:
        entry, worker = self._entry, self._worker
        worker.observing.metrics.begin()
        try:
            async with Connection(receive):
                reply = await self._settings.answering.answer(entry, self._errand())
                await self._deliver(reply, send)
        except ClientGone:
            entry.outcome, entry.status = "cancelled", 499
        except asyncio.CancelledError:
            # Only a server whose time to end is over cancels a request.
            await self._refuse(_stopping(), send)
        except DescantError as error:
            await self._refuse(error, send)
        except Exception:
            _log.exception("Request %s failed", self._call.id)
            await self._refuse(DescantError(f"An internal error; see {self._call.id}."), send)
        finally:
            entry.tally.mark("upstream" if self._is_streaming else "settle")
            try:
                await entry.tally.complete()
            finally:
                await self._close()

    async def _close(self) -> None:
        entry, books = self._entry, self._worker.lasting.books
        records = books.write(entry, self._settings.fleet)
        try:
            self._span.end(
                entry.status, None if entry.outcome in ("ok", "cached") else entry.outcome
            )
            self._worker.observing.end(entry, records[0])
        finally:
            await books.settle(entry, records)

    def _errand(self) -> Errand:
        control = self._headers.get(b"cache-control")
        return Errand(None if control is None else control.decode("latin-1"), self._span)

    async def _deliver(self, reply: AnyReply, send: Send) -> None:
        if isinstance(reply, StreamedReply):
            await self._stream(reply, send)
            return
        entry = self._entry
        entry.status = reply.status
        entry.outcome = self._outcome("ok" if reply.status < 400 else "refused")
        self._has_begun = True
        await send_answer(send, reply.status, reply.body, JSON, self._own_headers())
        if reply.status == 200:
            self._mirror(reply.body)

    async def _stream(self, reply: StreamedReply, send: Send) -> None:
        entry = self._entry
        head = [
            (b"content-type", EVENT_STREAM),
            (b"cache-control", b"no-cache"),
            *self._own_headers(),
        ]
        recording = StreamRecording(_num_choices(self._call), _MOST_RECORDED_BYTES)
        entry.status = 200
        self._has_begun = self._is_streaming = self._is_open = True
        try:
            async with asyncio.timeout(self._call.deadline_s - self._worker.lasting.clock()):
                await send({"type": "http.response.start", "status": 200, "headers": head})
                await self._pass_on(reply, recording, send)
            self._is_open = False
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError as error:
            raise DeadlineExceeded("The time was over before the answer was whole.") from error
        finally:
            await reply.close()
        self._mirror(recording.body({}))
        entry.outcome = self._outcome("failed" if entry.tally.is_cut else "ok")

    async def _pass_on(self, reply: StreamedReply, recording: StreamRecording, send: Send) -> None:
        entry, clock = self._entry, self._worker.lasting.clock
        gaps = self._worker.observing.metrics.gaps_of(self._call.model)
        last_s = clock()
        async for piece in reply.pieces:
            now_s = clock()
            gaps.observe(now_s - last_s)
            last_s = now_s
            if entry.tally.shadow_model is not None:
                recording.feed(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    def _mirror(self, given: bytes | None) -> None:
        model = self._entry.tally.shadow_model
        if model is None or given is None:
            return
        books, fleet = self._worker.lasting.books, self._settings.fleet
        asking = Asking(
            self._settings.answering.ask_shadow,
            lambda call: self._worker.begin_span(call, {}),
            lambda call, tally: books.note_shadow(call, tally, fleet),
        )
        self._worker.lasting.shadowing.mirror(self._call, given, model, asking)

    def _outcome(self, outcome: Outcome) -> Outcome:
        return "cached" if self._entry.tally.is_cached else outcome

    async def _refuse(self, error: DescantError, send: Send) -> None:
        entry = self._entry
        entry.outcome = "failed"
        if isinstance(error, LimitReached) or error.http_status < 500:
            entry.outcome = "refused"
        elif isinstance(error, DeadlineExceeded):
            entry.outcome = "timed_out"
        if not self._has_begun:
            entry.status = error.http_status
            await send_error(send, error, self._own_headers())
        elif self._is_open:
            await _break_off(send, error)

    def _own_headers(self) -> RawHeaders:
        entry = self._entry
        headers = [(b"x-request-id", self._call.id.encode())]
        if (own := client_id(self._headers)) is not None:
            headers.append((b"x-client-request-id", own))
        headers += [(k.encode(), v.encode()) for k, v in entry.limit_headers.items()]
        timings = entry.tally.timings
        if timings is not None:
            headers.append((b"server-timing", timings.header().encode()))
        if entry.tally.stages:
            headers.append(
                (b"x-descant-cascade", quote(", ".join(entry.tally.stages), safe=" ,/:@").encode())
            )
        headers += entry.tally.cache_headers()
        if self._call.prompt:
            headers.append((b"x-descant-prompt", self._call.prompt.encode()))
        if entry.tally.upstream is not None:
            headers.append((b"x-descant-upstream", entry.tally.upstream.encode()))
        return headers


async def _refuse_early(send: Send, error: DescantError, body: Body) -> None:
    """Send an error that may come before the request was whole; the connection ends with it then."""

    async def send_part(message: Mapping[str, Any]) -> None:
        await send({**message, "more_body": True})

    headers = [(b"x-request-id", uuid.uuid4().hex.encode())]
    if body.is_whole:
        await send_error(send, error, headers)
        return
    await send_error(send_part, error, headers)
    await body.discard()
    await send({"type": "http.response.body", "body": b""})


async def _break_off(send: Send, error: DescantError) -> None:
    """End a stream by the event that says why, unless nobody reads."""
    event = b"data: " + error_body(error) + b"\n\n"
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        _log.info("A stream was broken off whose caller does not read.")


def _num_choices(call: Call) -> int:
    num = call.body.get("n")
    return num if isinstance(num, int) else 1


def _stopping() -> ServerStopping:
    error = ServerStopping("The gateway is stopping.", remedy="Send it again, or elsewhere.")
    error.wait_s = _STOPPING_WAIT_S
    return error
