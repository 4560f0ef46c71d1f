"""What only limits in Redis do: many workers, one script, nothing left behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import redis

from descant.gateway.limits import Amounts, Budget, Claim, Rate, Refusal, Reservation
from descant.gateway.limits.redis_limits import RedisSettings
from descant.gateway.limits.shared import RedisLimits, connect
from tests.gateway.limits.redis_server import RedisServer

PATIENT = RedisSettings(answer_s=10.0)
CLAIM = Claim("key:a", (Rate("requests", 9), Rate("tokens", 100)), 3, (Budget("day", 1_000),))


@pytest.fixture
def store(shared_redis: RedisServer) -> redis.Redis:
    client = redis.Redis.from_url(shared_redis.url)
    client.flushall()
    return client


@asynccontextmanager
async def workers(server: RedisServer, count: int) -> AsyncIterator[list[RedisLimits]]:
    made = [RedisLimits(connect(server.url), f"worker-{i}", PATIENT) for i in range(count)]
    try:
        yield made
    finally:
        for limits in made:
            await limits.aclose()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.005)


def test_workers_share_every_limit(shared_redis: RedisServer, store: redis.Redis) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 3) as (one, two, three):
            both = await asyncio.gather(
                *(each.reserve((CLAIM,), Amounts(tokens=40)) for each in (one, two, three))
            )
            assert sorted(type(answer).__name__ for answer in both) == [
                "Refusal",
                "Reservation",
                "Reservation",
            ]
            made = next(answer for answer in both if isinstance(answer, Reservation))
            # Whoever settles it: a record of it is in Redis.
            await three.settle(made, Amounts(tokens=10))
            assert isinstance(await two.reserve((CLAIM,), Amounts(tokens=50)), Reservation)

    asyncio.run(ask())
    store.close()


def test_scripts_that_redis_forgot_are_sent_again(
    shared_redis: RedisServer, store: redis.Redis
) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 1) as (limits,):
            for _ in range(3):
                store.script_flush()
                made = await limits.reserve((CLAIM,), Amounts(tokens=40))
                assert isinstance(made, Reservation)
                store.script_flush()
                await limits.release(made)

    asyncio.run(ask())
    store.close()


def test_no_key_stays_for_ever(shared_redis: RedisServer, store: redis.Redis) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 1) as (limits,):
            made = await limits.reserve((CLAIM,), Amounts(tokens=40, money_nano=5))
            assert isinstance(made, Reservation)
            await limits.reserve((CLAIM,), Amounts(tokens=40, money_nano=5))
            assert isinstance(await limits.reserve((CLAIM,), Amounts(tokens=40)), Refusal)
            await limits.settle(made, Amounts(tokens=60, money_nano=7))

    asyncio.run(ask())
    keys = [bytes(key) for key in store.scan_iter() if isinstance(key, bytes)]
    assert {key.rsplit(b":", 1)[1] for key in keys} >= {b"w", b"l", b"m"}
    assert all(store.pttl(key) > 0 for key in keys)
    store.close()


def test_a_caller_who_leaves_leaves_nothing(shared_redis: RedisServer, store: redis.Redis) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 1) as (limits,):
            for turns in range(30):
                asking = asyncio.create_task(limits.reserve((CLAIM,), Amounts(tokens=100)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if asking.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await asking
                else:
                    answer = asking.result()
                    assert isinstance(answer, Reservation)
                    await limits.release(answer)
                await until(lambda: limits.unsaid == 0)
            assert isinstance(await limits.reserve((CLAIM,), Amounts(tokens=100)), Reservation)

    asyncio.run(ask())
    store.close()


def test_what_was_given_up_is_not_taken_later(
    shared_redis: RedisServer, store: redis.Redis
) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 1) as (limits,), workers(shared_redis, 1) as (late,):
            asking = asyncio.create_task(limits.reserve((CLAIM,), Amounts(tokens=100)))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: limits.unsaid == 0)
            # The same worker's same question, held up on its way until now.
            with pytest.raises(ConnectionError, match="given up"):
                await late.reserve((CLAIM,), Amounts(tokens=100))
            await until(lambda: late.unsaid == 0)
            assert isinstance(await limits.reserve((CLAIM,), Amounts(tokens=100)), Reservation)

    asyncio.run(ask())
    store.close()


def test_the_server_tells_the_time(shared_redis: RedisServer, store: redis.Redis) -> None:
    async def ask() -> None:
        async with workers(shared_redis, 1) as (limits,):
            before_s = store.time()[0]
            made = await limits.reserve((CLAIM,), Amounts(tokens=100))
            assert isinstance(made, Reservation)
            assert before_s <= made.taken_us / 1e6 <= store.time()[0] + 1
            refusal = await limits.reserve((CLAIM,), Amounts(tokens=100))
            assert isinstance(refusal, Refusal)
            assert 0 < refusal.wait_s <= 60.6
            assert not math.isinf(refusal.wait_s)

    asyncio.run(ask())
    store.close()
