from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.load_view import FRESH_S, STALE_S, LoadView
from descant.gateway.routing.metrics_text import Figures
from descant.gateway.routing.poller import Poller
from descant.gateway.routing.residency import Residency
from tests.gateway.routing.calls import Clock, call


def view_of(clock: Clock, *upstreams: str) -> LoadView:
    view = LoadView(clock)
    for name in upstreams:
        view.watch(name, is_polled=True)
    return view


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 5)), max_size=60))
def test_requests_are_counted_exactly(events: list[tuple[str, bool, int]]) -> None:
    view = view_of(Clock(), "a", "b")
    under_way: Counter[tuple[str, int]] = Counter()
    for name, is_sent, number in events:
        (view.sent if is_sent else view.done)(name, call(number))
        under_way[name, number] = int(is_sent)
        for each in "ab":
            assert view.in_flight(each) == sum(
                count for (upstream, _), count in under_way.items() if upstream == each
            )


def test_a_poll_adds_what_others_have_there_and_nothing_twice() -> None:
    view = view_of(Clock(), "a")
    view.sent("a", call(1))
    view.sent("a", call(2))
    view.take("a", Figures(running=3, waiting=2))
    assert view.in_flight("a") == 5
    view.sent("a", call(3))
    assert view.in_flight("a") == 6
    view.done("a", call(1))
    view.done("a", call(2))
    assert view.in_flight("a") == 4


@given(st.floats(0, 10), st.floats(0, 1), st.lists(st.floats(0, 20), min_size=2, max_size=5))
def test_figures_fade_to_loaded_and_never_to_idle(
    waiting: float, kv_use: float, ages_s: list[float]
) -> None:
    clock = Clock()
    view = view_of(clock, "a")
    assert view.strain("a") == 1.0
    view.take("a", Figures(waiting=waiting, kv_use=kv_use))
    taken_s, before = clock.now_s, view.strain("a")
    assert before == pytest.approx(min(1.0, max(waiting / 5, kv_use / 0.8)))
    for age_s in sorted(ages_s):
        clock.now_s = taken_s + age_s
        assert 1.0 >= view.strain("a") >= before
        before = view.strain("a")
        if age_s >= STALE_S:
            assert view.strain("a") == pytest.approx(1.0)


def test_what_is_not_polled_is_not_strained() -> None:
    view = LoadView(Clock())
    view.watch("a", is_polled=False)
    assert view.strain("a") == 0.0


def test_first_bytes_are_averaged_and_old_ones_lose_their_weight() -> None:
    clock = Clock()
    view = view_of(clock, "a", "b", "c")
    assert view.latencies_s("abc") == {"a": 0.0, "b": 0.0, "c": 0.0}
    view.first_byte("a", 1.0)
    view.first_byte("b", 3.0)
    assert view.latencies_s("abc") == {"a": 1.0, "b": 3.0, "c": 2.0}
    view.first_byte("a", 2.0)
    assert view.latencies_s("a") == {"a": pytest.approx(1.2)}
    clock.now_s += 3600
    assert view.latencies_s("ab") == {"a": pytest.approx(2.1), "b": pytest.approx(2.1)}


def test_who_goes_is_forgotten_and_who_stays_is_not() -> None:
    view = view_of(Clock(), "a", "b")
    view.sent("a", call(1))
    view.keep(["a"])
    view.watch("a", is_polled=True)
    assert view.in_flight("a") == 1
    for done in (view.sent, view.done):
        done("b", call(1))  # a request that was under way when its upstream went
    view.first_byte("b", 1.0)
    view.take("b", Figures())
    # A call of former settings may still ask.
    assert (view.in_flight("b"), view.strain("b"), view.figures("b")) == (0, 0, None)


def test_figures_that_are_too_old_are_none() -> None:
    clock = Clock()
    view = view_of(clock, "a")
    assert view.figures("a") is None
    view.take("a", Figures(running=1))
    clock.now_s += FRESH_S
    assert view.figures("a") == Figures(running=1)
    clock.now_s += STALE_S
    assert view.figures("a") is None


class Engines:
    """Upstreams whose metrics are asked for; `answers` says what each does."""

    def __init__(self, answers: dict[str, Callable[[], Awaitable[str]]]):
        self.view, self.residency = view_of(Clock(), *answers), Residency()
        for name in answers:
            self.residency.watch(name, 2)
        self.asked: Counter[str] = Counter()
        self._answers = answers

    def poll(self, upstream: str, times: int) -> None:
        """Poll all, until one of them has been asked so often."""
        asyncio.run(self._poll(upstream, times))

    async def _poll(self, upstream: str, times: int) -> None:
        enough = asyncio.Event()

        async def fetch(name: str) -> str:
            self.asked[name] += 1
            if self.asked[upstream] == times:
                enough.set()
            return await self._answers[name]()

        poller = Poller(self.view, self.residency, fetch)
        task = asyncio.create_task(poller.run(self._answers, interval_s=0.001))
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def figures() -> str:
    return "vllm:num_requests_running 4\n"


async def page() -> str:
    return "<html>"


async def reset() -> str:
    raise ConnectionResetError("gone")


async def hang() -> str:
    await asyncio.Event().wait()
    return ""


def test_the_poller_takes_what_answers_and_says_once_what_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engines = Engines({"a": figures, "b": reset, "c": page})
    engines.poll("c", 4)
    assert engines.view.in_flight("a") == 4
    assert [engines.view.strain(name) for name in "abc"] == [0.0, 1.0, 1.0]
    warnings = sorted(record.getMessage() for record in caplog.records)
    assert len(warnings) == 2
    assert "b cannot be read: ConnectionResetError: gone" in warnings[0]


def test_a_poll_that_hangs_does_not_hold_up_the_others() -> None:
    engines = Engines({"a": hang, "b": figures})
    engines.poll("b", 3)
    assert engines.asked["a"] == 1
    assert engines.view.in_flight("b") == 4
