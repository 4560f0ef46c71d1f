"""What a gateway adds: each figure against the same upstream asked directly, in alternating rounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway.gateways import MODEL, Running
from benchmarks.gateway.load import (
    ClosedLoop,
    Load,
    LoadProcesses,
    Measured,
    OpenLoop,
    Target,
    chat_body,
    percentile,
)
from benchmarks.gateway.memory import cpu_seconds, resident_bytes, watching
from benchmarks.gateway.mocks import MockProcess

BODIES = 64
CLIENTS = 64
UPSTREAM_S = 0.02
ANSWER_TOKENS = 16
STREAMS, STREAM_TOKENS = 8, 32
TAIL_BOUNDS_S = (0.001, 0.005, 0.010, 0.050, 0.100)
RATES = (50, 100, 200, 300, 400, 600, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 4000)
KEPT_UP = 0.95
"""A rung of the ladder counts where at least this share of its rate was answered in time."""
_SETTLE_S = 5.0
PLAIN: Mapping[str, object] = {"max_tokens": ANSWER_TOKENS}
Wishes = Mapping[str, object]
Series = Callable[[Measured], Sequence[float]]


@dataclass(frozen=True)
class Bench:
    """One gateway before one mock upstream, and what sends to either."""

    gateway: Running
    mock: MockProcess
    senders: LoadProcesses
    rounds: int
    seconds: float
    """Of each side of a round."""

    def target(self, url: str, wishes: Wishes) -> Target:
        """Return the upstream itself or the gateway, with requests that ask for so much more."""
        bodies = tuple(chat_body(index, MODEL, wishes) for index in range(BODIES))
        return Target(f"{url}/v1/chat/completions", bodies, self.gateway.headers)

    def drive(self, url: str, loop: ClosedLoop | OpenLoop, wishes: Wishes = PLAIN) -> Measured:
        """Send for the length of one side of a round."""
        return self.senders.drive(Load(self.target(url, wishes), loop, self.seconds))

    def warm(self) -> None:
        """Let everything that is made at first be made."""
        for url in (self.mock.url, self.gateway.url):
            self.drive(url, ClosedLoop(CLIENTS))


def added(bench: Bench, loop: ClosedLoop, series: Series) -> dict[str, Any]:
    """Return the medians over the rounds of via - direct at p50 and p99, and all rounds."""
    rounds = [_round(bench, index, loop, series) for index in range(bench.rounds)]
    return {
        "added_p50_s": _median([each["added_p50_s"] for each in rounds]),
        "added_p99_s": _median([each["added_p99_s"] for each in rounds]),
        "failed": sum(each["failed"] for each in rounds),
        "rounds": rounds,
    }


def one_client(bench: Bench) -> dict[str, Any]:
    """Return what is added where nothing else is asked."""
    bench.mock.turn(latency={"fixed_s": 0.0})
    return added(bench, ClosedLoop(1), _totals)


def many_clients(bench: Bench) -> dict[str, Any]:
    """Return what is added with 64 clients and an upstream of 20 ms."""
    bench.mock.turn(latency={"fixed_s": UPSTREAM_S})
    return added(bench, ClosedLoop(CLIENTS), _totals)


def capacity(bench: Bench) -> dict[str, Any]:
    """Return the requests a second with 64 clients and an upstream that takes no time."""
    bench.mock.turn(latency={"fixed_s": 0.0})
    before_s = _cpu_seconds(bench)
    rounds = [bench.drive(bench.gateway.url, ClosedLoop(CLIENTS)) for _ in range(bench.rounds)]
    cpu_s = _cpu_seconds(bench) - before_s
    return {
        "cpu_s_per_request": cpu_s / max(1, sum(each.good for each in rounds)),
        "rate": _median([each.rate for each in rounds]),
        "direct_rate": bench.drive(bench.mock.url, ClosedLoop(CLIENTS)).rate,
        "failed": sum(each.bad for each in rounds),
        "rates": [round(each.rate, 1) for each in rounds],
    }


def streams(bench: Bench) -> dict[str, Any]:
    """Return what is added to the first piece of a stream and between pieces 20 ms apart."""
    bench.mock.turn(latency={"fixed_s": 0.0}, gap_s=UPSTREAM_S)
    bench.mock.turn(least_tokens=STREAM_TOKENS, most_tokens=STREAM_TOKENS)
    wishes = {
        "stream": True,
        "max_tokens": STREAM_TOKENS,
        "stream_options": {"include_usage": True},
    }
    # So many at a time in the mean, each when it comes: in a closed loop, streams of one length all begin
    # in the same millisecond and stand in a line that no real callers form.
    loop = OpenLoop(STREAMS / (STREAM_TOKENS * UPSTREAM_S))
    rounds = [_stream_round(bench, loop, index, wishes) for index in range(bench.rounds)]
    names = [name for name in rounds[0] if name.startswith("added")]
    medians = {name: _median([each[name] for each in rounds]) for name in names}
    totals = {name: sum(each[name] for each in rounds) for name in ("failed", "incomplete")}
    bench.mock.turn(least_tokens=ANSWER_TOKENS, most_tokens=ANSWER_TOKENS)
    return {**medians, **totals, "rounds": rounds}


def frontier(bench: Bench) -> dict[str, Any]:
    """Return the highest open-loop rate, without a failure, at each bound on the added p99."""
    bench.mock.turn(latency={"fixed_s": 0.0})
    rungs: list[dict[str, Any]] = []
    for rate in RATES:
        loop = OpenLoop(rate)
        direct, via = (bench.drive(url, loop) for url in (bench.mock.url, bench.gateway.url))
        rungs.append(_rung(rate, direct, via))
        if not rungs[-1]["kept_up"] or rungs[-1]["added_p99_s"] > max(TAIL_BOUNDS_S):
            break
    return {
        "rate_at_added_p99_s": {
            str(bound): max(
                (rung["rate"] for rung in rungs if _holds(rung, bound)),
                default=0,
            )
            for bound in TAIL_BOUNDS_S
        },
        "rungs": rungs,
    }


def memory(bench: Bench, idle_bytes: int | None, seconds: float) -> dict[str, Any]:
    """Return resident bytes idle, under load and after it, and the growth a minute under load."""
    pid = bench.gateway.pid
    if pid is None or idle_bytes is None:
        return {"absent": "the gateway was not started here"}
    bench.mock.turn(latency={"fixed_s": UPSTREAM_S})
    target = bench.target(bench.gateway.url, PLAIN)
    with watching(pid) as watch:
        measured = bench.senders.drive(Load(target, ClosedLoop(CLIENTS), seconds))
    time.sleep(_SETTLE_S)
    return {
        "idle_bytes": idle_bytes,
        "load_bytes": watch.most_bytes,
        "growth_bytes_per_minute": watch.growth_bytes_per_minute(),
        "after_bytes": resident_bytes(pid),
        "seconds": seconds,
        "requests": measured.good,
    }


def _round(bench: Bench, index: int, loop: ClosedLoop, series: Series) -> dict[str, Any]:
    direct, via = _both(bench, index, loop, PLAIN)
    p50, p99 = (_difference(direct, via, series, share) for share in (0.5, 0.99))
    return {
        "added_p50_s": p50,
        "added_p99_s": p99,
        "direct_p99_s": percentile(series(direct), 0.99),
        "rate": round(via.rate, 1),
        "failed": direct.bad + via.bad,
    }


def _stream_round(bench: Bench, loop: OpenLoop, index: int, wishes: Wishes) -> dict[str, Any]:
    direct, via = _both(bench, index, loop, wishes)
    return {
        "added_first_p50_s": _difference(direct, via, _firsts, 0.5),
        "added_first_p99_s": _difference(direct, via, _firsts, 0.99),
        "added_gap_p50_s": _difference(direct, via, _gaps, 0.5),
        "added_gap_p99_s": _difference(direct, via, _gaps, 0.99),
        "failed": direct.bad + via.bad,
        "incomplete": via.good - via.pieces[STREAM_TOKENS],
    }


def _both(
    bench: Bench, index: int, loop: ClosedLoop | OpenLoop, wishes: Wishes
) -> tuple[Measured, Measured]:
    """Measure direct and via; which goes first changes from round to round."""
    urls = [bench.mock.url, bench.gateway.url]
    if index % 2:
        second, first = (bench.drive(url, loop, wishes) for url in reversed(urls))
    else:
        first, second = (bench.drive(url, loop, wishes) for url in urls)
    return first, second


def _difference(direct: Measured, via: Measured, series: Series, share: float) -> float:
    return percentile(series(via), share) - percentile(series(direct), share)


def _rung(rate: float, direct: Measured, via: Measured) -> dict[str, Any]:
    return {
        "rate": rate,
        "answered": round(via.rate, 1),
        "kept_up": via.rate >= KEPT_UP * direct.rate,
        "failed": via.bad,
        "p99_s": percentile(via.total_s, 0.99),
        "added_p99_s": _difference(direct, via, _totals, 0.99),
        "late_p99_s": percentile(via.late_s, 0.99),
    }


def _holds(rung: dict[str, Any], bound_s: float) -> bool:
    return not rung["failed"] and rung["kept_up"] and rung["added_p99_s"] <= bound_s


def _cpu_seconds(bench: Bench) -> float:
    """Return what the gateway has taken so far; nan where it was not started here."""
    return math.nan if bench.gateway.pid is None else cpu_seconds(bench.gateway.pid)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _totals(measured: Measured) -> Sequence[float]:
    return measured.total_s


def _firsts(measured: Measured) -> Sequence[float]:
    return measured.first_s


def _gaps(measured: Measured) -> Sequence[float]:
    return measured.gaps_s
