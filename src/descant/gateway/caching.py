"""Calls whose answer is known, or on its way to somebody else, are not sent on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from descant.gateway.cache import (
    JSON,
    AnswerStore,
    CachedAnswer,
    CachePlan,
    Flight,
    Seat,
    SingleFlight,
    StreamRecording,
    is_worth_keeping,
    replay_stream,
)
from descant.gateway.call import Call, Usage
from descant.gateway.reply import (
    CACHE,
    AnyReply,
    ReplyHead,
    StreamedReply,
    Tally,
    WholeReply,
    begun,
    one_piece,
)
from descant.schema.errors import DeadlineExceeded

_MOST_KEPT_BYTES = 4 << 20
Ask = Callable[[Tally], Awaitable[AnyReply]]
"""Asks an upstream, and tells the tally what that took."""


Learn = Callable[[CachedAnswer], Awaitable[None]]
"""Takes an answer that was worth keeping."""


async def learn_nothing(answer: CachedAnswer) -> None:
    """Take an answer, and do nothing with it."""
    del answer


class Caching:
    """Answers from the store, or by one question to an upstream for all who ask the same."""

    def __init__(
        self,
        answers: AnswerStore,
        flights: SingleFlight[ReplyHead],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ):
        self._answers = answers
        self._flights = flights
        self._clock = clock
        self._wall_clock = wall_clock

    async def kept(self, call: Call, plan: CachePlan, tally: Tally) -> AnyReply | None:
        """Return the answer that was given before, if there is one that may be given again."""
        if not plan.may_read:
            return None
        answer = await self._answers.get(plan.key)
        if answer is None or answer.age_s(self._wall_clock()) > plan.most_age_s:
            tally.cache = "miss"
            return None
        return self.give(call, answer, tally)

    def give(self, call: Call, answer: CachedAnswer, tally: Tally) -> AnyReply:
        """Return an answer that was given before, in the form that this call asks for."""
        tally.cache, tally.age_s = "hit", answer.age_s(self._wall_clock())
        tally.usage, tally.upstream = answer.usage, CACHE
        if not call.is_stream:
            return WholeReply(200, answer.body, answer.usage, CACHE)
        options = call.body.get("stream_options") or {}
        events = replay_stream(answer.body, options.get("include_usage") is True)
        return StreamedReply(one_piece(events), CACHE)

    async def shared(
        self,
        call: Call,
        plan: CachePlan,
        tally: Tally,
        ask: Ask,
        learn: Learn = learn_nothing,
    ) -> AnyReply:
        """Return the answer of a question that is under way, or begin it; keep what it brings.

        Who began it pays for it, so its line in the books waits until the question is over, even if
        it has left while others still wait; `Tally.complete` does that.

        Raises:
            DeadlineExceeded: this caller's time is over.
            DescantError: whatever `ask` raised.
        """
        question = _Question(ask, learn, Tally(), asyncio.Event())
        # Who wants it asked anew rides alone; what that brings is kept like any other.
        flight = plan.flight if plan.may_share else plan.flight + call.id.encode()
        seat = self._flights.join(flight, partial(self._fly, call, plan, question), call.deadline_s)
        place = _Place(seat, question, tally)
        try:
            async with asyncio.timeout(call.deadline_s - self._clock()):
                head = await seat.head()
                place.sit_down(head)
                if head.is_stream:
                    return StreamedReply(await begun(place.pieces()), head.upstream)
                body = b"".join([piece async for piece in seat])
        except TimeoutError as error:
            place.leave(None)
            message = f"There was no answer within {call.deadline_s - call.received_s:g} s."
            raise DeadlineExceeded(message) from error
        except BaseException:
            place.leave(None)
            raise
        place.leave(head)
        await tally.complete()
        return WholeReply(head.status, body, head.usage, head.upstream)

    async def _fly(
        self, call: Call, plan: CachePlan, question: _Question, flight: Flight[ReplyHead]
    ) -> None:
        try:
            reply = await question.ask(question.tally)
            if isinstance(reply, WholeReply):
                await self._fly_whole(plan, question, reply, flight)
            else:
                await self._fly_stream(call, plan, question, reply, flight)
        finally:
            question.is_over.set()

    async def _fly_whole(
        self,
        plan: CachePlan,
        question: _Question,
        reply: WholeReply,
        flight: Flight[ReplyHead],
    ) -> None:
        is_kept = reply.status == 200 and plan.may_store and _is_as_planned(plan, reply)
        if is_kept and is_worth_keeping(reply.body):
            await question.learn(await self._keep(plan, reply.body, reply.usage))
        flight.begin(ReplyHead(reply.status, reply.upstream, reply.usage, is_stream=False))
        await flight.write(reply.body)

    async def _fly_stream(
        self,
        call: Call,
        plan: CachePlan,
        question: _Question,
        reply: StreamedReply,
        flight: Flight[ReplyHead],
    ) -> None:
        flight.begin(ReplyHead(200, reply.upstream, None, is_stream=True))
        choices = call.body.get("n")
        recording = StreamRecording(choices if isinstance(choices, int) else 1, _MOST_KEPT_BYTES)
        try:
            async for piece in reply.pieces:
                recording.feed(piece)
                await flight.write(piece)
        finally:
            await reply.close()
        usage, is_cut = question.tally.usage, question.tally.is_cut
        if plan.may_store and usage is not None and not is_cut:
            body = recording.body(_as_openai(usage))
            if body is not None:
                await question.learn(await self._keep(plan, body, usage))

    async def _keep(self, plan: CachePlan, body: bytes, usage: Usage | None) -> CachedAnswer:
        answer = CachedAnswer(body, JSON, usage or Usage(), self._wall_clock())
        await self._answers.put(plan.key, answer, plan.ttl_s)
        return answer


@dataclass(frozen=True, slots=True)
class _Question:
    """What one caller began for all who ask the same."""

    ask: Ask
    learn: Learn
    tally: Tally
    is_over: asyncio.Event


@dataclass(frozen=True, slots=True)
class _Place:
    """One caller among those who wait."""

    seat: Seat[ReplyHead]
    question: _Question
    tally: Tally

    def sit_down(self, head: ReplyHead) -> None:
        """Say who answers, before the first byte goes on."""
        self.tally.upstream = head.upstream if self.seat.is_first else CACHE
        if not self.seat.is_first:
            self.tally.cache = "shared"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer as it comes."""
        try:
            yield b""
            async for piece in self.seat:
                yield piece
            await self._learn()
        finally:
            self.leave(None)

    def leave(self, head: ReplyHead | None) -> None:
        """Wait no longer; who began the question learns in the end what it took."""
        self.seat.leave()
        if self.seat.is_first:
            self.tally.waits_for = self._learn
        else:
            self.tally.upstream, self.tally.cache = CACHE, "shared"
            self.tally.usage = None if head is None else head.usage

    async def _learn(self) -> None:
        if self.seat.is_first:
            await self.question.is_over.wait()
            self.tally.take(self.question.tally)


def _is_as_planned(plan: CachePlan, reply: WholeReply) -> bool:
    """Whether the adapters that answered are those that the key names."""
    return not plan.content or all(content in plan.content for content in reply.adapters)


def _as_openai(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
