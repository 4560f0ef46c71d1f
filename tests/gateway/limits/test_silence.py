"""A worker that is not heard gives up what it held; one that only stalled settles once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from descant.gateway.limits import Amounts, Budget, Claim, Rate, Refusal, Reservation
from descant.gateway.limits.redis_limits import RedisSettings
from descant.gateway.limits.shared import RedisLimits, connect
from tests.gateway.limits.places import CLOCK_KEY, LEASE_S, PATIENT_S, START_US
from tests.gateway.limits.redis_server import RedisServer
from tests.gateway.limits.twin import Held, Twin

T = TypeVar("T")
SILENCE_S = 5.0
NEVER_S = 1e6
CLAIM = Claim("key:a", (Rate("tokens", 100),), 3, (Budget("day", 60),))
CLAIMS = (CLAIM, Claim("tenant:b", (Rate("requests", 9),), None, (Budget("month", 90),)))
NUM_WORKERS = 3
ONE = Amounts()


class Workers:
    """Several on one Redis with a hand-set clock; none says by itself that it is there."""

    def __init__(self, server: RedisServer, count: int = NUM_WORKERS):
        self.runner = asyncio.Runner()
        self.store = redis.Redis.from_url(server.url)
        self.store.flushall()
        self.now_us = START_US
        self.made: list[RedisLimits] = self.do(self._make(server, count))
        self.wait(0.0)

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def wait(self, time_s: float) -> None:
        self.now_us += int(time_s * 1e6)
        seconds, rest_us = divmod(self.now_us, 1_000_000)
        self.store.hset(CLOCK_KEY, mapping={"s": seconds, "us": rest_us})

    def ask(self, worker: int, most: Amounts = ONE) -> Reservation | Refusal:
        return self.do(self.made[worker].reserve((CLAIM,), most))

    def beat(self, worker: int, times: int = 1) -> None:
        """Let time pass in which only this worker is heard."""
        for _ in range(times):
            self.do(self.made[worker].beat())
            self.wait(1.0)

    def close(self) -> None:
        for limits in self.made:
            self.do(limits.aclose())
        self.runner.close()
        self.store.close()

    async def _make(self, server: RedisServer, count: int) -> list[RedisLimits]:
        settings = RedisSettings(
            answer_s=PATIENT_S,
            lease_s=LEASE_S,
            clock_lua=f"redis.call('HMGET', '{CLOCK_KEY}', 's', 'us')",
            silence_s=SILENCE_S,
            beat_s=NEVER_S,
        )
        return [RedisLimits(connect(server.url), f"worker-{i}", settings) for i in range(count)]


@contextmanager
def workers(server: RedisServer) -> Iterator[Workers]:
    made = Workers(server)
    try:
        yield made
    finally:
        made.close()


def taken(answer: Reservation | Refusal) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


def test_what_a_silent_worker_held_is_free(shared_redis: RedisServer) -> None:
    with workers(shared_redis) as crowd:
        for _ in range(3):
            taken(crowd.ask(0, Amounts(money_nano=20)))
        crowd.beat(1, times=4)
        assert isinstance(crowd.ask(1), Refusal)
        crowd.beat(1, times=1)
        for _ in range(3):
            taken(crowd.ask(1, Amounts(money_nano=20)))
        assert not crowd.store.exists("{descant}:key:a:l:worker-0")


def test_a_worker_that_is_heard_keeps_what_it_holds(shared_redis: RedisServer) -> None:
    with workers(shared_redis) as crowd:
        for _ in range(3):
            taken(crowd.ask(0))
        for _ in range(10):
            crowd.do(crowd.made[0].beat())
            crowd.beat(1)
        assert isinstance(crowd.ask(1), Refusal)


def test_who_comes_back_settles_once_and_frees_nothing_twice(shared_redis: RedisServer) -> None:
    with workers(shared_redis) as crowd:
        stalled = [taken(crowd.ask(0, Amounts(tokens=30, money_nano=20))) for _ in range(3)]
        crowd.beat(1, times=6)
        others = [taken(crowd.ask(worker, Amounts(money_nano=10))) for worker in (1, 1, 0)]
        for reservation in stalled * 2:
            crowd.do(crowd.made[0].settle(reservation, Amounts(tokens=10, money_nano=5)))
        # What the others hold is held still, what was used is counted, once.
        refusal = crowd.ask(1, Amounts(tokens=70, money_nano=15))
        assert isinstance(refusal, Refusal)
        assert refusal.kind == "concurrency"
        assert [room.left for room in refusal.rooms] == [70]
        crowd.do(crowd.made[1].release(others[0]))
        assert isinstance(crowd.ask(0, Amounts(money_nano=26)), Refusal)
        taken(crowd.ask(0, Amounts(tokens=70, money_nano=25)))


def test_nobody_was_silent_where_the_server_stood_still(shared_redis: RedisServer) -> None:
    with workers(shared_redis) as crowd:
        for _ in range(3):
            taken(crowd.ask(0))
        crowd.beat(1)
        crowd.wait(60.0)
        # The first who is heard afterwards must not take the others for gone.
        assert isinstance(crowd.ask(1), Refusal)
        crowd.beat(1, times=6)
        taken(crowd.ask(1))


def test_the_list_of_workers_does_not_grow(shared_redis: RedisServer) -> None:
    with workers(shared_redis) as crowd:
        taken(crowd.ask(0))
        taken(crowd.ask(2))
        crowd.beat(1, times=7)
        names = crowd.store.hgetall("{descant}:beats")
        assert isinstance(names, dict)
        assert set(names) == {b"worker-1", b":last", b":since"}


def test_a_worker_says_by_itself_that_it_is_there(shared_redis: RedisServer) -> None:
    async def ask() -> None:
        settings = RedisSettings(answer_s=PATIENT_S, beat_s=0.01)
        limits = RedisLimits(connect(shared_redis.url), "beating", settings)
        try:
            await limits.reserve((CLAIM,), Amounts())
            with redis.Redis.from_url(shared_redis.url) as store:
                first = store.hget("{descant}:beats", "beating")
                async with asyncio.timeout(20):
                    while store.hget("{descant}:beats", "beating") == first:
                        await asyncio.sleep(0.01)
        finally:
            await limits.aclose()

    asyncio.run(ask())


@dataclass
class SilenceTwin(Twin):
    """Knows besides who was heard when, and who was found silent in which scope."""

    silence_us: int = int(SILENCE_S * 1e6)
    heard_us: dict[int, int] = field(default_factory=dict)
    last_us: int = 0
    since_us: int = 0
    holders: list[int] = field(default_factory=list)
    given_up: set[tuple[int, str]] = field(default_factory=set)

    def hear(self, worker: int) -> None:
        if self.now_us - self.last_us > self.silence_us / 2:
            self.since_us = self.now_us
        self.heard_us[worker] = self.last_us = self.now_us

    def reserve_by(
        self, worker: int, claims: tuple[Claim, ...], most: Amounts
    ) -> Held | tuple[str, str, float]:
        self.hear(worker)
        for number, holder in enumerate(self.holders):
            if max(self.heard_us[holder], self.since_us) + self.silence_us <= self.now_us:
                self.given_up |= {(number, claim.scope) for claim in claims}
        answer = self.reserve(claims, most)
        if isinstance(answer, Held):
            self.holders.append(worker)
        return answer

    def running(self, scope: str) -> list[Held]:
        found = super().running(scope)
        return [
            held
            for number, held in enumerate(self.held)
            if held in found and (number, scope) not in self.given_up
        ]


AMOUNTS = st.builds(Amounts, tokens=st.integers(0, 60), money_nano=st.integers(0, 30))
WORKER = st.integers(0, NUM_WORKERS - 1)
SECONDS = st.sampled_from([0.1, 1.0, 2.0, 2.5, 2.6, 4.0, 5.0, 60.0, LEASE_S])


class AnswersOfBoth(RuleBasedStateMachine):
    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.crowd = Workers(type(self).server)
        self.twin = SilenceTwin(int(LEASE_S * 1e6), START_US)
        self.made: list[tuple[Reservation, Held, int]] = []

    @rule(time_s=SECONDS)
    def wait(self, time_s: float) -> None:
        self.crowd.wait(time_s)
        self.twin.now_us = self.crowd.now_us

    @rule(worker=WORKER, seconds=st.integers(1, 7))
    def be_heard_alone(self, worker: int, seconds: int) -> None:
        for _ in range(seconds):
            self.twin.hear(worker)
            self.crowd.beat(worker)
            self.twin.now_us = self.crowd.now_us

    @rule(worker=WORKER, claims=st.lists(st.sampled_from(CLAIMS), unique=True), most=AMOUNTS)
    def reserve(self, worker: int, claims: list[Claim], most: Amounts) -> None:
        answer = self.crowd.do(self.crowd.made[worker].reserve(tuple(claims), most))
        expected = self.twin.reserve_by(worker, tuple(claims), most)
        if isinstance(expected, Held):
            self.made.append((taken(answer), expected, worker))
        else:
            assert isinstance(answer, Refusal)
            assert (answer.scope, answer.kind) == expected[:2]
        rates = [(claim.scope, rate) for claim in claims for rate in claim.rates]
        assert [room.left for room in answer.rooms] == [
            rate.limit - self.twin.taken(scope, rate) for scope, rate in rates
        ]

    @rule(which=st.integers(0, 30), used=AMOUNTS)
    def settle(self, which: int, used: Amounts) -> None:
        if self.made:
            reservation, held, worker = self.made[which % len(self.made)]
            has_lapsed = held.taken_us + self.twin.lease_us <= self.twin.now_us
            if held.is_settled and has_lapsed:
                return  # Nobody remembers that long whether it was settled.
            self.crowd.do(self.crowd.made[worker].settle(reservation, used))
            self.twin.hear(worker)
            self.twin.end(held, used)

    def teardown(self) -> None:
        self.crowd.close()


def test_every_answer_is_the_twins(shared_redis: RedisServer) -> None:
    run_state_machine_as_test(
        type("WithThisServer", (AnswersOfBoth,), {"server": shared_redis}),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
