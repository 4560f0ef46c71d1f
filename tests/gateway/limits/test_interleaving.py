"""Fifty tasks at once, with wrong estimates and broken-off requests, pass no limit."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from descant.gateway.limits import Amounts, Claim, Rate, Reservation
from tests.gateway.limits.places import START_US, Place

TASKS = 50
ROUNDS = 60
LIMIT = 1_000
RUNNING = 5
EXCESS = 20
"""Five requests that are wrong by this much are wrong by one smallest reservation."""
CLAIMS = (
    Claim("key:a", (Rate("tokens", LIMIT),), RUNNING),
    Claim("tenant:b", (Rate("requests", 100), Rate("tokens", 2 * LIMIT))),
)
MINUTE_US = 60_000_000


@dataclass
class Passed:
    at_us: int
    tokens: int


class Crowd:
    """Does one random step for each of its tasks at a time; the clock moves in between."""

    def __init__(self, place: Place, seed: int):
        self.place = place
        self.random = random.Random(seed)
        self.now_us = START_US
        self.open: list[Reservation] = []
        self.passed: list[Passed] = []
        self.most_running = 0
        self.refused: set[str] = set()

    async def round(self) -> None:
        steps = [asyncio.create_task(self.step()) for _ in range(TASKS)]
        for step in steps:
            if self.random.random() < 0.2:
                asyncio.get_running_loop().call_later(self.random.random() / 500, step.cancel)
        await asyncio.gather(*steps, return_exceptions=True)
        for step in steps:
            if not step.cancelled() and (error := step.exception()):
                raise error

    async def step(self) -> None:
        if self.open and self.random.random() < 0.1:
            await self.end(self.open.pop(self.random.randrange(len(self.open))))
            return
        most = Amounts(tokens=self.random.randint(RUNNING * EXCESS, 2 * RUNNING * EXCESS))
        answer = await self.place.limits.reserve(CLAIMS, most)
        if isinstance(answer, Reservation):
            self.open.append(answer)
            self.most_running = max(self.most_running, len(self.open))
        else:
            self.refused.add(answer.kind)

    async def end(self, reservation: Reservation) -> None:
        if self.random.random() < 0.2:
            await self.place.limits.release(reservation)
            return
        most = reservation.most.tokens
        used = self.random.randint(0, most + EXCESS)
        self.passed.append(Passed(reservation.taken_us, min(most, used)))
        self.passed.append(Passed(self.now_us, max(0, used - most)))
        await self.place.limits.settle(reservation, Amounts(tokens=used))

    def in_minute(self, from_us: int) -> int:
        return sum(
            passed.tokens for passed in self.passed if 0 <= passed.at_us - from_us < MINUTE_US
        )


@pytest.mark.parametrize("seed", [1, 2])
def test_no_interleaving_passes_a_limit_by_more_than_one_reservation(
    place: Place, seed: int
) -> None:
    crowd = Crowd(place, seed)
    for _ in range(ROUNDS):
        place.do(crowd.round())
        crowd.now_us += crowd.random.randint(0, 6_000_000)
        place.set_clock(crowd.now_us)
    for reservation in crowd.open:
        place.do(crowd.end(reservation))
    place.rest()
    assert crowd.refused & {"tokens", "concurrency"}
    assert 1 < crowd.most_running <= RUNNING
    busiest = max(crowd.in_minute(passed.at_us) for passed in crowd.passed)
    assert busiest <= LIMIT + RUNNING * EXCESS
    place.set_clock(crowd.now_us + MINUTE_US + MINUTE_US // 100)
    # Nothing leaked: all that may run at once may run, and a minute's tokens are there.
    for _ in range(RUNNING):
        answer = place.do(place.limits.reserve(CLAIMS, Amounts(tokens=LIMIT // RUNNING)))
        assert isinstance(answer, Reservation)
