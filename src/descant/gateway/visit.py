"""One call at one upstream: from what is set aside for it there to the last byte of its answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp

from descant.gateway.call import Call, Usage
from descant.gateway.dialects import StreamReader, UpstreamRequest
from descant.gateway.failures import (
    Attempts,
    Outcome,
    Reply,
    Try,
    outcome_of_error,
    outcome_of_status,
)
from descant.gateway.limits import Amounts, Limits, Refusal, Reservation
from descant.gateway.reply import StreamedReply, Tally, WholeReply, begun
from descant.gateway.routing import Candidate, Router
from descant.gateway.upstream import MOST_REFUSAL_BYTES, Upstream, read_some, read_whole
from descant.gateway.watching import AttemptEnd, AttemptSpan, AttemptStart, RequestSpan
from descant.schema.errors import GarbledAnswer, InputError

_ANSWERED = 200
_PERHAPS_ANSWERED = frozenset({Outcome.ANSWERED, Outcome.TIMED_OUT, Outcome.CUT, Outcome.GARBAGE})
_BYTES_PER_TOKEN = 4
_TAIL_S = 1.0
"""How long after a stream's last event its connection may take to be free again."""


class VisitFailed(Exception):
    """The upstream gave no answer that a caller could have."""

    def __init__(self, reply: Reply, body: bytes | None = None):
        super().__init__(reply.outcome.value)
        self.reply = reply
        self.body = body
        """What it said instead, as OpenAI writes it."""


class HeldBack(Exception):
    """The upstream was not asked: its own limits, as they are configured, have no room now."""

    def __init__(self, wait_s: float):
        super().__init__(f"{wait_s} s")
        self.wait_s = wait_s


@dataclass(frozen=True)
class Trip:
    """What a visit is about."""

    call: Call
    upstream: Upstream
    candidate: Candidate
    attempts: Attempts
    tried: Try
    tally: Tally
    span: RequestSpan


class Visit:
    """Holds the upstream's permit, its place in the load and its share of limits; ends once."""

    def __init__(self, trip: Trip, router: Router, limits: Limits, clock: Callable[[], float]):
        self._trip = trip
        self._router = router
        self._limits = limits
        self._clock = clock
        self._reservation: Reservation | None = None
        self._span: AttemptSpan | None = None
        self._is_over = False
        self._begun_s = clock()

    async def answer(self) -> WholeReply | StreamedReply:
        """Return the upstream's answer; a streamed one holds on to the visit.

        Raises:
            HeldBack: the upstream's limits have no room.
            VisitFailed: it gave no answer, or one that says the request is wrong.
            InputError: the upstream has no words for something in the request.
        """
        request = await self._admitted()
        self._begun_s = self._clock()
        self._router.sent(self._trip.candidate, self._trip.call)
        try:
            return await self._ask(request)
        except VisitFailed as failure:
            await self._end(failure.reply, None)
            raise
        except BaseException:
            # The caller is gone, its time is over, or the request cannot be said there: none of it
            # tells anything about the upstream.
            await self._end(None, None)
            raise

    async def _admitted(self) -> UpstreamRequest:
        """Return the request, with its share set aside; else the permit has gone back."""
        trip = self._trip
        try:
            request = trip.upstream.dialect.request(trip.call, trip.candidate.model)
            self._reservation = await self._set_aside()
        except InputError:
            trip.attempts.pass_over(trip.tried, math.inf, self._clock())
            raise
        except HeldBack as held:
            trip.attempts.pass_over(trip.tried, held.wait_s, self._clock())
            raise
        except BaseException:
            trip.attempts.release(trip.tried)
            raise
        return request

    async def _set_aside(self) -> Reservation | None:
        claims = self._trip.upstream.claims
        if not claims:
            return None
        held = await self._limits.reserve(claims, Amounts(1, self._trip.call.most_tokens))
        if isinstance(held, Refusal):
            raise HeldBack(held.wait_s)
        return held

    async def _ask(self, request: UpstreamRequest) -> WholeReply | StreamedReply:
        trip = self._trip
        trip.tally.visited.append(trip.upstream.name)
        self._span = trip.span.attempt(self._start())
        headers = {"x-request-id": trip.call.id, **self._span.headers}
        trip.tally.mark("route")
        try:
            response = await trip.upstream.open(request, headers)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise VisitFailed(Reply(outcome_of_error(error))) from error
        try:
            if response.status != _ANSWERED:
                raise await self._refused(response)
            if trip.call.is_stream:
                return await self._begin_stream(response)
            return await self._whole(response)
        except (aiohttp.ClientError, OSError, TimeoutError, GarbledAnswer) as error:
            response.close()
            outcome = (
                Outcome.GARBAGE if isinstance(error, GarbledAnswer) else outcome_of_error(error)
            )
            raise VisitFailed(self._reply(response, outcome)) from error
        except BaseException:
            response.close()
            raise

    async def _refused(self, response: aiohttp.ClientResponse) -> VisitFailed:
        reply = self._reply(response, outcome_of_status(response.status))
        try:
            body = await read_some(response, MOST_REFUSAL_BYTES)
        except asyncio.CancelledError:
            # Who waited is gone, but what the head said of when to come back holds for all.
            await self._end(reply, None)
            raise
        response.close()
        said = self._trip.upstream.dialect.refusal(response.status, response.headers, body)
        return VisitFailed(reply, said)

    async def _whole(self, response: aiohttp.ClientResponse) -> WholeReply:
        trip = self._trip
        self._first_byte()
        body = await read_whole(response)
        trip.tally.mark("upstream")
        answered = trip.upstream.dialect.answer(trip.call, body)
        usage = answered.usage or self._guessed(len(answered.body) // _BYTES_PER_TOKEN)
        trip.tally.usage, trip.tally.adapters = usage, answered.adapters
        await self._end(self._reply(response, Outcome.ANSWERED), answered.usage)
        return WholeReply(_ANSWERED, answered.body, usage, trip.upstream.name, answered.adapters)

    def _guessed(self, written_tokens: int) -> Usage:
        """Return what an answer took whose upstream does not say."""
        call = self._trip.call
        return Usage(call.prompt_tokens, min(call.max_tokens, written_tokens))

    async def _begin_stream(self, response: aiohttp.ClientResponse) -> StreamedReply:
        """Read until there is something to send on: until then another upstream can answer."""
        reader = self._trip.upstream.dialect.stream(self._trip.call)
        content = response.content.iter_any()
        first = b""
        async for piece in content:
            first = reader.feed(piece)
            if first or reader.failure is not None:
                break
        if not first:
            first = reader.end()
            if reader.failure is not None or not reader.is_complete:
                raise self._broken_before_begin(response, reader)
        self._first_byte()
        self._trip.attempts.first_byte_sent()
        pieces = self._pieces(response, reader, first, content)
        return StreamedReply(await begun(pieces), self._trip.upstream.name)

    def _broken_before_begin(
        self, response: aiohttp.ClientResponse, reader: StreamReader
    ) -> VisitFailed:
        failure = reader.failure
        response.close()
        if failure is None or failure.reason == "cut":
            return VisitFailed(self._reply(response, Outcome.CUT))
        if failure.reason == "garbled":
            return VisitFailed(self._reply(response, Outcome.GARBAGE))
        said = self._trip.upstream.dialect.refusal(failure.status, response.headers, b"")
        outcome = outcome_of_status(failure.status)
        return VisitFailed(Reply(outcome, failure.status, response.headers), said)

    async def _pieces(
        self,
        response: aiohttp.ClientResponse,
        reader: StreamReader,
        first: bytes,
        content: AsyncIterator[bytes],
    ) -> AsyncGenerator[bytes, None]:
        tally = self._trip.tally
        outcome: Outcome | None = None
        num_events = first.count(b"\n\n")
        try:
            yield b""
            yield first
            try:
                while not (reader.is_complete or reader.failure):
                    if out := reader.feed(await anext(content)):
                        num_events += out.count(b"\n\n")
                        yield out
                broken = Outcome.CUT
            except StopAsyncIteration:
                broken = Outcome.CUT
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                broken = outcome_of_error(error)
            if last := reader.end():
                yield last
            outcome = Outcome.ANSWERED if reader.is_complete else broken
            if reader.is_complete:
                await _to_the_end(response)
        finally:
            tally.is_cut = not reader.is_complete
            # Who breaks off has read about a token an event; what was read is an estimate too.
            tally.usage = reader.usage or self._guessed(num_events)
            response.close() if tally.is_cut else response.release()
            reply = None if outcome is None else self._reply(response, outcome)
            await self._end(reply, tally.usage)

    def _reply(self, response: aiohttp.ClientResponse, outcome: Outcome) -> Reply:
        return Reply(outcome, response.status, response.headers)

    def _first_byte(self) -> None:
        trip, now_s = self._trip, self._clock()
        trip.tally.mark("upstream_first_byte")
        trip.tally.upstream, trip.tally.first_byte_s = trip.upstream.name, now_s
        self._router.first_byte(trip.candidate, now_s - self._begun_s)

    async def _end(self, reply: Reply | None, usage: Usage | None) -> None:
        """Give everything back; `reply` None: nothing was learned of the upstream."""
        if self._is_over:
            return
        self._is_over = True
        trip = self._trip
        if reply is None and usage is None and self._span is not None:
            # Who leaves has had the prompt read; what was written for nobody is not known.
            trip.tally.upstream, trip.tally.usage = trip.upstream.name, self._guessed(0)
        try:
            if reply is None:
                trip.attempts.release(trip.tried)
            else:
                trip.attempts.note(trip.tried, reply, self._clock())
            self._end_span(reply, usage)
        finally:
            self._router.done(trip.candidate, trip.call, usage)
            if self._reservation is not None:
                await self._settle(self._reservation, reply, usage)

    def _start(self) -> AttemptStart:
        trip = self._trip
        return AttemptStart(
            trip.call.operation,
            trip.upstream.config.dialect,
            trip.upstream.name,
            trip.candidate.model,
            trip.upstream.address.host,
            trip.upstream.port,
            len(trip.tally.visited),
            trip.call.max_tokens,
            trip.call.is_stream,
        )

    def _end_span(self, reply: Reply | None, usage: Usage | None) -> None:
        if self._span is None:
            return
        if reply is None:
            self._span.end(AttemptEnd(error="left"))
            return
        error = None if reply.outcome is Outcome.ANSWERED else reply.outcome.value
        self._span.end(AttemptEnd(reply.status, error, usage))

    async def _settle(
        self, reservation: Reservation, reply: Reply | None, usage: Usage | None
    ) -> None:
        if usage is not None:
            tokens = usage.total_tokens
        elif reply is None or reply.outcome in _PERHAPS_ANSWERED:
            # Nobody says what it took: a request that was left alone may have been answered there.
            tokens = reservation.most.tokens
        else:
            tokens = 0
        await self._limits.settle(reservation, Amounts(1, tokens))


async def _to_the_end(response: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the connection can be used again."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(_TAIL_S):
            await response.content.readany()
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()
