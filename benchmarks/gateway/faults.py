"""The fault drill: upstreams that fail in every way they can, a worker killed, Redis gone.

    .venv/bin/python -m benchmarks.gateway.faults
    .venv/bin/python -m benchmarks.gateway.faults --gateway litellm --redis-gone-s 0

A small crowd asks throughout, for whole answers and streams. Two upstreams are well; the third fails
in one way after the other, goes and comes. Then all fail at once, a worker is killed with -9, and the
Redis that holds the limits is gone for half a minute. At the end exactly as many requests as the
limits allow at once are sent at once: a reservation that leaked would refuse one of them. Writes
`results/gateway_faults.{json,md}`; ends with 1 where a check does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from benchmarks.gateway.checks import Check, publish
from benchmarks.gateway.child import stop_when_told
from benchmarks.gateway.drill import KNOBS, MOST_AT_ONCE, UPSTREAMS, Drill, Seen
from benchmarks.gateway.drill_checks import checks
from benchmarks.gateway.gateways import Descant, Gateway, Place, ledger_path
from benchmarks.gateway.mocks import mocks_up
from benchmarks.gateway.peers.litellm_proxy import LiteLLM
from benchmarks.gateway.redis_server import own_redis

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the drill, print and write the table."""
    options = _options(arguments)
    stop_when_told()
    gateway: Gateway = LiteLLM() if options.gateway == "litellm" else Descant()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        drill = _prepared(gateway, Path(folder), stack, options)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(drill.run())
        found = checks(seen, ledger_path(drill.place))
    sys.exit(0 if _published(found, seen, drill, options) else 1)


def _prepared(
    gateway: Gateway, folder: Path, stack: contextlib.ExitStack, options: argparse.Namespace
) -> Drill:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    redis = own_redis(cores, folder) if options.redis_gone_s else None
    url = stack.enter_context(redis.up()).url if redis else None
    place = Place(folder, cores, options.workers, url, MOST_AT_ONCE)
    mocks = stack.enter_context(mocks_up([KNOBS] * UPSTREAMS, cores, folder))
    return Drill(stack, gateway, place, mocks, redis, options.seconds, options.redis_gone_s)


def _published(found: list[Check], seen: Seen, drill: Drill, options: argparse.Namespace) -> bool:
    redis = f"Redis gone for {drill.redis_gone_s:g} s" if drill.redis else "without Redis"
    more = {
        "results": options.results,
        "how": f"{drill.gateway.name}, {drill.place.workers} worker(s), {redis}.",
        "as_many_as_may_be": seen.at_once.to_json(),
        "parts": [part.to_json() for part in seen.parts.values()],
    }
    return publish("gateway_faults", "The fault drill", found, more)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateway", choices=["descant", "litellm"], default="descant")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each fault")
    parser.add_argument("--redis-gone-s", type=float, default=30.0, help="0: without Redis")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
