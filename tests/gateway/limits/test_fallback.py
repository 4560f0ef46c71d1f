"""Redis hangs, dies and comes back in the middle; nobody waits for it and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import redis

from descant.gateway.limits import Amounts, Claim, InProcessLimits, Rate, Refusal, Reservation
from descant.gateway.limits.redis_limits import RedisSettings
from descant.gateway.limits.shared import FallbackLimits, RedisLimits, connect
from tests.gateway.limits.redis_server import RedisServer

WORKERS = 2
CLAIM = Claim("key:a", (Rate("requests", 100), Rate("tokens", 1_000)), 10)
QUICK = RedisSettings(answer_s=0.4)
PATIENT = RedisSettings(answer_s=10.0)


class Clock:
    """A worker's own; Redis has another."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def worker(server: RedisServer, clock: Clock) -> AsyncIterator[FallbackLimits]:
    shared = RedisLimits(connect(server.url), "worker", QUICK)
    local = InProcessLimits(clock)
    limits = FallbackLimits(shared, local, WORKERS, probe_s=0.02, clock=clock)
    try:
        yield limits
    finally:
        await limits.aclose()


async def until_shared(limits: FallbackLimits) -> None:
    async with asyncio.timeout(20):
        while True:
            if limits.is_shared:
                return
            await asyncio.sleep(0.01)


async def reserve(limits: FallbackLimits, tokens: int) -> Reservation:
    # Far beyond the bound: who waits for Redis to come back waits for ever.
    async with asyncio.timeout(20):
        answer = await limits.reserve((CLAIM,), Amounts(tokens=tokens))
    assert isinstance(answer, Reservation)
    return answer


async def refuse(limits: FallbackLimits, tokens: int) -> Refusal:
    answer = await limits.reserve((CLAIM,), Amounts(tokens=tokens))
    assert isinstance(answer, Refusal)
    return answer


def in_redis(server: RedisServer) -> tuple[int, int]:
    """Return the running requests, and the tokens of the minute."""
    with redis.Redis.from_url(server.url) as store:
        tokens = store.hget("{descant}:key:a:w", "tokens600000:sum")
        running = store.zcard("{descant}:key:a:l:worker")
        return running, int(tokens or 0)


Loss = Callable[[RedisServer], None]
Return = Callable[[RedisServer], None]
WAYS = [
    pytest.param(RedisServer.pause, RedisServer.go_on, id="hangs"),
    pytest.param(RedisServer.kill, RedisServer.start, id="dies"),
]


@pytest.mark.parametrize(("lose", "come_back"), WAYS)
def test_without_redis_each_worker_keeps_its_part(
    own_redis: RedisServer, lose: Loss, come_back: Return, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            before = await reserve(limits, 200)
            lose(own_redis)
            # Of its part, 500, this worker let 200 through while Redis was there.
            answers = await asyncio.gather(
                *(limits.reserve((CLAIM,), Amounts(tokens=60)) for _ in range(20))
            )
            made = [answer for answer in answers if isinstance(answer, Reservation)]
            # Of 10 at once its part is 5, and one runs.
            assert len(made) == 4
            assert not limits.is_shared
            assert limits.losses == 1
            await limits.settle(before, Amounts(tokens=150))
            for each in made:
                await limits.release(each)
            assert (await refuse(limits, 351)).kind == "tokens"
            await reserve(limits, 350)
            come_back(own_redis)
            await until_shared(limits)

    with caplog.at_level(logging.WARNING, logger="descant.gateway.limits"):
        asyncio.run(ask())
    told = [record for record in caplog.records if record.name.startswith("descant")]
    assert [record.levelname for record in told] == ["WARNING", "WARNING"]


def test_what_redis_did_while_nobody_listened_is_undone(own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            before = await reserve(limits, 200)
            own_redis.pause()
            # These are in its socket, and it takes them when it goes on.
            made = await asyncio.gather(*(reserve(limits, 10) for _ in range(4)))
            await limits.settle(before, Amounts(tokens=150))
            for each in made:
                await limits.settle(each, Amounts(tokens=10))
            own_redis.go_on()
            await until_shared(limits)
            assert in_redis(own_redis) == (0, 150)
            # Said twice, it counts once.
            await limits.settle(before, Amounts(tokens=150))
            assert in_redis(own_redis) == (0, 150)

    asyncio.run(ask())


def test_a_settlement_that_redis_did_not_answer_counts_once(own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            made = [await reserve(limits, 100) for _ in range(3)]
            own_redis.pause()
            await asyncio.gather(*(limits.settle(each, Amounts(tokens=130)) for each in made))
            assert not limits.is_shared
            own_redis.go_on()
            await until_shared(limits)
            assert in_redis(own_redis) == (0, 390)

    asyncio.run(ask())


def test_for_a_minute_after_its_return_both_counts_decide(own_redis: RedisServer) -> None:
    clock = Clock()

    async def ask() -> None:
        async with worker(own_redis, clock) as limits:
            own_redis.kill()
            gone = await reserve(limits, 500)
            own_redis.start()
            await until_shared(limits)
            # Redis begins anew and knows nothing of the 500.
            assert in_redis(own_redis) == (0, 0)
            await refuse(limits, 1)
            await limits.settle(gone, Amounts(tokens=400))
            joint = await reserve(limits, 100)
            assert joint.shared is not None
            assert in_redis(own_redis) == (1, 100)
            await limits.release(joint)
            assert in_redis(own_redis) == (0, 0)
            clock.now_s += 61
            await reserve(limits, 900)

    asyncio.run(ask())


def test_what_redis_refuses_after_its_return_is_not_held_here(own_redis: RedisServer) -> None:
    async def ask() -> None:
        other = RedisLimits(connect(own_redis.url), "other", PATIENT)
        async with worker(own_redis, Clock()) as limits:
            own_redis.pause()
            await limits.release(await reserve(limits, 500))
            own_redis.go_on()
            await until_shared(limits)
            full = await other.reserve((CLAIM,), Amounts(tokens=900))
            assert isinstance(full, Reservation)
            for _ in range(10):
                await refuse(limits, 200)
            await other.release(full)
            await reserve(limits, 500)
        await other.aclose()

    asyncio.run(ask())


def test_a_request_too_large_for_a_part_is_told_to_come_back(own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            own_redis.kill()
            assert (await refuse(limits, 600)).retry_after_s == 61
            assert math.isinf((await refuse(limits, 1_001)).wait_s)

    asyncio.run(ask())


def test_callers_who_leave_a_hanging_redis_leave_nothing(own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            own_redis.pause()
            leaving = [asyncio.create_task(reserve(limits, 10)) for _ in range(5)]
            await asyncio.sleep(0.01)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            await limits.release(await reserve(limits, 10))
            own_redis.go_on()
            await until_shared(limits)
            assert in_redis(own_redis) == (0, 0)

    asyncio.run(ask())


def test_a_killed_redis_in_the_middle_of_a_crowd_costs_no_answer(own_redis: RedisServer) -> None:
    async def session(limits: FallbackLimits) -> None:
        for _ in range(10):
            answer = await limits.reserve((CLAIM,), Amounts(tokens=1))
            await asyncio.sleep(0.001)
            if isinstance(answer, Reservation):
                await limits.settle(answer, Amounts(tokens=1))

    async def ask() -> None:
        async with worker(own_redis, Clock()) as limits:
            sessions = asyncio.gather(*(session(limits) for _ in range(20)))
            await asyncio.sleep(0.02)
            own_redis.kill()
            async with asyncio.timeout(20):
                await sessions
            own_redis.start()
            await until_shared(limits)
            assert in_redis(own_redis)[0] == 0

    asyncio.run(ask())
