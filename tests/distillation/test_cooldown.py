from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.distillation.cooldown import Cooldown, retry_after_s
from descant.schema.errors import TeacherUnavailable


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


def pause_s(refusals: int) -> float:
    return 0.5 * refusals


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
        # The dates are the examples of RFC 9110, section 5.6.7, two minutes apart.
        (
            {
                "retry-after": "Sun, 06 Nov 1994 08:51:37 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            120.0,
        ),
        (
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:00 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Sun, 06 Nov 1994 08:51:37 GMT"}, None),
    ],
)
def test_headers_say_how_long_to_wait(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


steps = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), min_size=1, max_size=8)


@given(steps=steps)
def test_the_latest_deadline_counts(steps: list[tuple[float, float]]) -> None:
    time = Time()
    cooldown = Cooldown(1000.0, pause_s, time.clock, time.sleep)
    deadlines = []
    for idle_s, wait_s in steps:
        time.now_s += idle_s
        cooldown.extend(wait_s, "busy")
        deadlines.append(time.now_s + max(wait_s, 0.5))
    asyncio.run(cooldown.wait())
    assert time.now_s == pytest.approx(max(deadlines))


def test_a_deadline_that_grows_while_others_wait_holds_them_too() -> None:
    time = Time()
    cooldown = Cooldown(1000.0, pause_s, time.clock, time.sleep)

    async def both() -> float:
        cooldown.extend(2.0, "busy")
        waiting = asyncio.create_task(cooldown.wait())
        await asyncio.sleep(0)
        cooldown.extend(30.0, "busy")
        cooldown.extend(1.0, "busy")
        await waiting
        return time.now_s

    assert asyncio.run(both()) >= 30.0


def test_a_wait_that_is_too_long_ends_those_of_all() -> None:
    time = Time()
    cooldown = Cooldown(100.0, pause_s, time.clock, time.sleep)

    async def both() -> None:
        cooldown.extend(60.0, "busy")
        waiting = asyncio.create_task(cooldown.wait())
        await asyncio.sleep(0)
        with pytest.raises(TeacherUnavailable, match="3,600 s more: quota"):
            cooldown.extend(3600.0, "quota")
        with pytest.raises(TeacherUnavailable):
            await waiting

    asyncio.run(both())
    assert time.now_s < 5


def test_refusals_without_an_end_are_not_waited_for_for_ever() -> None:
    time = Time()
    cooldown = Cooldown(100.0, pause_s, time.clock, time.sleep)

    async def refused_again_and_again() -> int:
        for count in range(1000):
            try:
                cooldown.extend(9.0, "busy")
            except TeacherUnavailable:
                return count
            await cooldown.wait()
        return 1000

    assert asyncio.run(refused_again_and_again()) == 11


def test_a_request_that_is_taken_begins_the_count_anew() -> None:
    time = Time()
    cooldown = Cooldown(100.0, pause_s, time.clock, time.sleep)

    async def now_and_then() -> None:
        for _ in range(50):
            cooldown.extend(60.0, "busy")
            await cooldown.wait()
            cooldown.end()

    asyncio.run(now_and_then())
    assert time.now_s >= 3000


def test_without_a_stated_time_each_refusal_in_a_row_waits_longer() -> None:
    time = Time()
    cooldown = Cooldown(100.0, pause_s, time.clock, time.sleep)

    async def refused_in_bursts() -> list[float]:
        ends_s = []
        for _ in range(3):
            for _ in range(8):
                cooldown.extend(None, "busy")
            await cooldown.wait()
            ends_s.append(time.now_s)
        cooldown.end()
        cooldown.extend(None, "busy")
        await cooldown.wait()
        return [*ends_s, time.now_s]

    # Eight that were refused together count once.
    assert asyncio.run(refused_in_bursts()) == [0.5, 1.5, 3.0, 3.5]


def test_at_once_is_not_taken_at_its_word_for_ever() -> None:
    time = Time()
    cooldown = Cooldown(100.0, pause_s, time.clock, time.sleep)

    async def refused_at_once() -> int:
        for count in range(1000):
            try:
                cooldown.extend(0.0, "busy")
            except TeacherUnavailable:
                return count
            await cooldown.wait()
        return 1000

    assert asyncio.run(refused_at_once()) == 200
