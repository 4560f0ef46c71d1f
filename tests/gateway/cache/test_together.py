"""The parts as a gateway puts them together: plan, look up, fly, record, keep."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from descant.gateway.cache import (
    JSON,
    Bounds,
    CachedAnswer,
    CachePolicy,
    CacheWish,
    Flight,
    Identity,
    LocalStore,
    SingleFlight,
    StreamRecording,
    is_worth_keeping,
    plan_cache,
    replay_stream,
)
from descant.gateway.call import Call, Usage
from tests.gateway.cache.calls import Clock, answer, chat

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


class Gateway:
    """Answers calls with an upstream that streams where it is asked to."""

    def __init__(self, body: bytes) -> None:
        self.num_asked = 0
        self._body = body
        self._clock = Clock()
        self._store = LocalStore(Bounds(), self._clock)
        self._flights: SingleFlight[int] = SingleFlight(100_000)

    async def give(self, call: Call) -> bytes:
        plan = plan_cache(call, Identity("sha"), CachePolicy(ttl_s=60), CacheWish())
        assert plan is not None
        kept = await self._store.get(plan.key)
        if kept is not None:
            return replay_stream(kept.body, False) if call.is_stream else kept.body

        async def work(flight: Flight[int]) -> None:
            self.num_asked += 1
            flight.begin(200)
            body = await (self._stream if call.is_stream else self._whole)(flight)
            flight.finish()
            if body is not None and is_worth_keeping(body):
                made = CachedAnswer(body, JSON, Usage(10, 3), self._clock())
                await self._store.put(plan.key, made, plan.ttl_s)

        seat = self._flights.join(plan.flight, work, call.deadline_s)
        try:
            return b"".join([chunk async for chunk in seat])
        finally:
            seat.leave()

    async def _whole(self, flight: Flight[int]) -> bytes:
        await flight.write(self._body)
        return self._body

    async def _stream(self, flight: Flight[int]) -> bytes | None:
        recording = StreamRecording(num_choices=1, most_bytes=10_000)
        for line in replay_stream(self._body, False).splitlines(keepends=True):
            await asyncio.sleep(0)
            recording.feed(line)
            await flight.write(line)
        return recording.body(USAGE)


def said(body: bytes) -> Any:
    return orjson.loads(body)["choices"][0]["message"]["content"]


def test_a_kept_stream_answers_both_ways() -> None:
    async def main() -> None:
        gateway = Gateway(answer("Hello.").body)
        first = await gateway.give(chat(stream=True))
        await asyncio.sleep(0)
        assert said(await gateway.give(chat())) == "Hello."
        again = await gateway.give(chat(stream=True))
        recording = StreamRecording(1, 10_000)
        recording.feed(again)
        assert first.endswith(b"data: [DONE]\n\n")
        assert said(recording.body(USAGE) or b"") == "Hello."
        assert gateway.num_asked == 1

    asyncio.run(main())


def test_a_kept_body_answers_both_ways() -> None:
    async def main() -> None:
        gateway = Gateway(answer("Hello.").body)
        assert await gateway.give(chat()) == answer("Hello.").body
        await asyncio.sleep(0)
        assert b'"content":"Hello."' in await gateway.give(chat(stream=True))
        assert gateway.num_asked == 1

    asyncio.run(main())


def test_fifty_at_once_ask_once() -> None:
    async def main() -> None:
        gateway = Gateway(answer("Hello.").body)
        streams = await asyncio.gather(*[gateway.give(chat(stream=True)) for _ in range(50)])
        assert len(set(streams)) == 1
        assert gateway.num_asked == 1

    asyncio.run(main())


def test_garbage_of_status_200_is_passed_on_but_not_kept() -> None:
    async def main() -> None:
        gateway = Gateway(b"<html>busy</html>")
        for _ in range(2):
            assert await gateway.give(chat()) == b"<html>busy</html>"
            await asyncio.sleep(0)
        assert gateway.num_asked == 2

    asyncio.run(main())
