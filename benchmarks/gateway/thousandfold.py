"""From one session to a thousand, against upstreams that let only so many tokens a minute pass.

    .venv/bin/python -m benchmarks.gateway.thousandfold
    .venv/bin/python -m benchmarks.gateway.thousandfold --gateway litellm --ramp-s 5 --hold-s 5

Sessions are added until there are a thousand, about fifteen times what the limits let pass, and stay
for longer than the minute that the limits look back on. Each waits as a refusal tells it to. At the
end a few of those who stand refused ask alone, when they were told to: they must be let in. Writes
`results/gateway_thousandfold.{json,md}`; ends with 1 where a check does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.gateway.checks import Check, publish
from benchmarks.gateway.child import stop_when_told
from benchmarks.gateway.gateways import MODEL, Descant, Gateway, Place, Running, Upstream
from benchmarks.gateway.load import Answer, Target, chat_body, percentile
from benchmarks.gateway.load.pool import Pool
from benchmarks.gateway.memory import cpu_seconds
from benchmarks.gateway.mocks import MockProcess, mocks_up
from benchmarks.gateway.peers.litellm_proxy import LiteLLM
from benchmarks.gateway.sessions import Sessions

RESULTS = Path(__file__).resolve().parents[1] / "results"
UPSTREAMS = 4
MAX_TOKENS, PROMPT_CHARACTERS, PROMPTS = 40, 200, 500
LATENCY = {"quantiles": [[0.0, 0.05], [0.5, 0.15], [1.0, 0.5]]}
GOODPUT = 0.95
SAMPLE = 20
_LATE_S = 0.05
"""After the told moment: whole milliseconds of timers, and the way to the gateway."""
_EVERY_S = 5.0


@dataclass(frozen=True)
class Course:
    """How many sessions, and for how long."""

    sessions: int
    ramp_s: float
    hold_s: float
    tokens_per_minute: int
    """Of each upstream."""

    @property
    def allowed_tokens(self) -> int:
        """What all upstreams let pass in a minute."""
        return UPSTREAMS * self.tokens_per_minute

    def sessions_at(self, since_s: float) -> int:
        """Return how many there are by then: each equal time, the same factor more."""
        return int(self.sessions ** min(1.0, since_s / self.ramp_s))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, print and write the table."""
    options = _options(arguments)
    stop_when_told()
    gateway: Gateway = LiteLLM() if options.gateway == "litellm" else Descant()
    course = Course(options.sessions, options.ramp_s, options.hold_s, options.tokens_per_minute)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    first, others = cores[:1], cores[1:] or cores
    knobs = {
        "latency": LATENCY,
        "least_tokens": 8,
        "most_tokens": MAX_TOKENS,
        "limits": {"tokens": course.tokens_per_minute},
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), first)
        with mocks_up([knobs] * UPSTREAMS, others, place.folder) as mocks:
            upstreams = [
                Upstream(f"mock{index}", mock.url, course.tokens_per_minute)
                for index, mock in enumerate(mocks)
            ]
            with (
                gateway.up(upstreams, place) as running,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                os.sched_setaffinity(0, others)
                seen = runner.run(_run(running, mocks, course))
    seen |= {"results": options.results, "how": _how(course, gateway.name)}
    sys.exit(0 if publish("gateway_thousandfold", TITLE, _checks(seen, course), seen) else 1)


TITLE = "A thousand times the sessions"


async def _run(running: Running, mocks: Sequence[MockProcess], course: Course) -> dict[str, Any]:
    bodies = tuple(
        chat_body(index, MODEL, {"max_tokens": MAX_TOKENS}, PROMPT_CHARACTERS)
        for index in range(PROMPTS)
    )
    target = Target(f"{running.url}/v1/chat/completions", bodies, running.headers)
    pool = Pool(target.address, 2 * course.sessions)
    sessions = Sessions(pool, target.requests(), think_s=1.0, timeout_s=60.0)
    cpu_s, started_s = _cpu_seconds(running), time.monotonic()
    timeline, states = await _crowd(sessions, mocks, course)
    cpu_share = (_cpu_seconds(running) - cpu_s) / (time.monotonic() - started_s)
    sample = await _sample(sessions)
    pool.close()
    tally = sessions.tally
    return {
        "good": tally.good,
        "refused": tally.refused,
        "refused_untold": tally.untold,
        "failures": dict(tally.failures),
        "told_s": _spread(tally.told_s),
        "answered_p50_s": percentile(tally.answered_s, 0.5),
        "answered_p99_s": percentile(tally.answered_s, 0.99),
        "gateway_cpu_share": round(cpu_share, 3),
        "tries": {str(count): questions for count, questions in sorted(tally.tries.items())},
        "sample": sample,
        "upstreams": states,
        "upstreams_after": await _states(mocks),
        "timeline": timeline,
    }


async def _crowd(
    sessions: Sessions, mocks: Sequence[MockProcess], course: Course
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Let the sessions come, stay and stop asking; return their course and the upstreams' counters."""
    timeline: list[dict[str, Any]] = []
    started_s = time.monotonic()
    tasks: list[asyncio.Task[None]] = []
    while (since_s := time.monotonic() - started_s) < course.ramp_s + course.hold_s:
        while len(tasks) < course.sessions_at(since_s):
            tasks.append(asyncio.create_task(sessions.run(len(tasks))))
        if since_s >= len(timeline) * _EVERY_S:
            states = await _states(mocks)
            tokens = sum(state["tokens_last_60_s"] for state in states)
            timeline.append(
                {
                    "since_s": round(since_s, 1),
                    "sessions": len(tasks),
                    "good": sessions.tally.good,
                    "refused": sessions.tally.refused,
                    "tokens_last_60_s": tokens,
                }
            )
        await asyncio.sleep(0.1)
    states = await _states(mocks)
    sessions.over.set()
    await asyncio.gather(*tasks)
    return timeline, states


async def _sample(sessions: Sessions) -> dict[str, Any]:
    """Let some of those who stand refused ask once more, each when it was told to."""
    refused = list(sessions.refusals.items())
    step = max(1, len(refused) // SAMPLE)
    told = [
        (index, answer) for index, answer in refused[::step] if answer.retry_after_s is not None
    ]

    async def again(index: int, answer: Answer) -> str:
        due_s = answer.ended_s + (answer.retry_after_s or 0.0) + _LATE_S
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        return (await sessions.ask_once(index)).kind

    kinds = await asyncio.gather(*(again(*each) for each in told[:SAMPLE]))
    return {"asked": len(kinds), "taken": kinds.count("200"), "kinds": sorted(set(kinds))}


async def _states(mocks: Sequence[MockProcess]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(asyncio.to_thread(mock.state) for mock in mocks)))


def _checks(seen: dict[str, Any], course: Course) -> list[Check]:
    states = seen["upstreams_after"]
    last_minute = sum(state["tokens_last_60_s"] for state in seen["upstreams"])
    goodput = last_minute / course.allowed_tokens
    passed, offered, inside = (
        [state[name] for state in states]
        for name in ("most_tokens_60_s", "most_offered_tokens_60_s", "violations")
    )
    limit, sample = course.tokens_per_minute, seen["sample"]
    return [
        Check(
            "every request is answered or refused",
            not seen["failures"],
            f"{seen['good']:,} answered, {seen['refused']:,} refused, else {seen['failures']}",
        ),
        Check(
            "every refusal says when to come again",
            not seen["refused_untold"],
            f"{seen['refused_untold']:,} did not; told: {seen['told_s']}",
        ),
        Check(
            "who waits as told is let in",
            sample["asked"] > 0 and sample["taken"] == sample["asked"],
            f"{sample['taken']} of a sample of {sample['asked']}",
        ),
        Check(
            f"goodput in the last minute ≥ {GOODPUT:.0%} of what the limits allow",
            goodput >= GOODPUT,
            f"{goodput:.1%}: {last_minute:,} of {course.allowed_tokens:,} tokens; "
            f"gateway at {seen['gateway_cpu_share']:.0%} of a core, "
            f"answers within {seen['answered_p99_s']:.2g} s (p99)",
        ),
        Check(
            "no upstream lets more pass than its limit in any minute",
            max(passed) <= limit,
            f"at most {max(passed):,} of {limit:,} tokens",
        ),
        Check(
            "no upstream is asked for more than its limit in any minute",
            max(offered) <= limit,
            f"at most {max(offered):,} of {limit:,} tokens",
        ),
        Check("calls inside a Retry-After window", not sum(inside), str(sum(inside))),
    ]


def _cpu_seconds(running: Running) -> float:
    assert running.pid is not None, "started here"
    return cpu_seconds(running.pid)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "nothing"
    return f"{min(values):g} to {max(values):g} s, median {statistics.median(values):g} s"


def _how(course: Course, name: str) -> str:
    return (
        f"{name}: 1 to {course.sessions:,} sessions in {course.ramp_s:g} s, then {course.hold_s:g} s; "
        f"{UPSTREAMS} upstreams of {course.tokens_per_minute:,} tokens a minute each."
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateway", choices=["descant", "litellm"], default="descant")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--ramp-s", type=float, default=50.0)
    parser.add_argument("--hold-s", type=float, default=70.0)
    parser.add_argument("--tokens-per-minute", type=int, default=60_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
