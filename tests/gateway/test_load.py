"""The client counts from when a request was due, and what goes wrong under its own name."""

from __future__ import annotations

import asyncio
from statistics import mean

import pytest
from benchmarks.gateway.load import (
    ClosedLoop,
    Load,
    LoadProcesses,
    Measured,
    OpenLoop,
    Target,
    chat_body,
    generate,
    percentile,
)
from benchmarks.gateway.load.connection import Answer
from benchmarks.gateway.load.measured import histogram

from tests.gateway.mock_upstream import Served, mock_upstream

PATH = "/v1/chat/completions"


def target(served: Served, **wishes: object) -> Target:
    return Target(served.url + PATH, (chat_body(0, "mock", {"max_tokens": 4, **wishes}),))


def test_latency_counts_from_when_a_request_was_due() -> None:
    async def measure() -> Measured:
        # One connection and 50 ms an answer: of ten requests within 0.1 s the last waits for nine.
        async with mock_upstream(latency={"fixed_s": 0.05}) as served:
            loop = OpenLoop(100.0, "constant")
            return await generate(Load(target(served), loop, 0.105, connections=1))

    measured = asyncio.run(measure())
    assert measured.good == 10
    assert max(measured.total_s) >= 10 * 0.05 - 0.1
    assert max(measured.late_s) >= 9 * 0.05 - 0.1


def test_open_loop_does_not_wait_for_answers() -> None:
    async def measure() -> tuple[Measured, int]:
        async with mock_upstream(latency={"fixed_s": 0.5}) as served:
            loop = OpenLoop(100.0, "constant")
            measured = await generate(Load(target(served), loop, 0.3))
            return measured, served.upstream.counts.most_running

    measured, most_running = asyncio.run(measure())
    assert measured.good == most_running == 29


def test_closed_loop_has_so_many_at_once_and_no_more() -> None:
    async def measure() -> int:
        async with mock_upstream(latency={"fixed_s": 0.01}) as served:
            await generate(Load(target(served), ClosedLoop(7), 0.1))
            return served.upstream.counts.most_running

    assert asyncio.run(measure()) == 7


def test_poisson_arrivals_are_seeded_and_as_often_as_told() -> None:
    times = list(OpenLoop(1000.0, seed=3).times_s(10.0))
    assert times == list(OpenLoop(1000.0, seed=3).times_s(10.0))
    assert len(times) == pytest.approx(10_000, rel=0.05)
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    variance = mean(gap * gap for gap in gaps) - mean(gaps) ** 2
    assert variance == pytest.approx(mean(gaps) ** 2, rel=0.1)


def test_loops_are_split_without_a_rest() -> None:
    assert [loop.clients for loop in ClosedLoop(7).split(3)] == [3, 2, 2]
    assert [loop.clients for loop in ClosedLoop(1).split(3)] == [1]
    assert sum(loop.rate for loop in OpenLoop(90.0).split(3)) == pytest.approx(90.0)
    assert len({loop.seed for loop in OpenLoop(90.0).split(3)}) == 3


def test_streams_are_measured_piece_by_piece() -> None:
    async def measure() -> Measured:
        async with mock_upstream(gap_s=0.02, most_tokens=8, least_tokens=8) as served:
            return await generate(
                Load(target(served, stream=True, max_tokens=8), ClosedLoop(2), 0.05)
            )

    measured = asyncio.run(measure())
    assert measured.bad == 0
    assert set(measured.pieces) == {8}
    assert len(measured.gaps_s) == 7 * measured.good
    assert mean(measured.gaps_s) >= 0.019
    assert max(measured.first_s) < min(measured.total_s)


def test_failures_are_counted_by_kind() -> None:
    async def measure() -> Measured:
        faults = {"error_500": 0.3, "reset_before": 0.3, "garbage": 0.2}
        async with mock_upstream(faults=faults) as served:
            return await generate(Load(target(served), ClosedLoop(4), 0.3))

    measured = asyncio.run(measure())
    assert {"200", "500", "reset", "cut"} == set(measured.kinds)
    assert measured.good == measured.kinds["200"]
    assert measured.bad == measured.kinds.total() - measured.good


def test_nobody_there_is_an_error_too() -> None:
    load = Load(Target("http://127.0.0.1:9/none", (b"{}",)), OpenLoop(50.0, "constant"), 0.1)
    assert dict(asyncio.run(generate(load)).kinds) == {"connect": 4}


def test_several_processes_measure_together() -> None:
    async def measure() -> tuple[Measured, int]:
        async with mock_upstream() as served:
            load = Load(target(served), OpenLoop(100.0, "constant"), 0.5)
            with LoadProcesses.started(2, (0,)) as processes:
                measured = await asyncio.to_thread(processes.drive, load)
            return measured, served.upstream.counts.requests

    measured, requests = asyncio.run(measure())
    assert measured.good == requests == 48
    assert measured.to_json()["kinds"] == {"200": 48}


def test_percentiles_are_samples() -> None:
    samples = [float(n) for n in range(1, 101)]
    assert percentile(samples, 0.5) == 50.0
    assert percentile(samples, 0.99) == 99.0
    assert percentile(samples[:1], 0.99) == 1.0
    assert sum(histogram(samples).values()) == 100


@pytest.mark.parametrize(
    ("told", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", None), ("-1", None), ("", None)]
)
def test_retry_after_is_read_only_where_it_means_something(
    told: str, seconds: float | None
) -> None:
    assert Answer(0.0, headers={"retry-after": told}).retry_after_s == seconds
