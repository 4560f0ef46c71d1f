"""A mock upstream in a process of its own; it says its address on standard output.

    python -m benchmarks.gateway.mock_upstream --port 9001 --tokens-per-minute 60000 \
        --latency-s 0.02 --fault error_503=0.05 --knobs '{"most_tokens": 64}'

``GET /admin/state`` counts what it saw, ``POST /admin/knobs`` turns knobs (`mock/knobs.py`),
``POST /admin/reset`` sets the counters and the windows of the limits back.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import time
from collections.abc import Sequence
from typing import Any

import uvloop
from benchmarks.gateway.mock import Knobs, MockUpstream, knobs_from_json, serving


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    options = _options(arguments)
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(_knobs(options), options.port))


async def _serve(knobs: Knobs, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(MockUpstream(knobs, time.monotonic), port) as address:
        print(address, flush=True)
        await stop.wait()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--gap-s", type=float, default=0.02)
    parser.add_argument("--requests-per-minute", type=int)
    parser.add_argument("--tokens-per-minute", type=int)
    parser.add_argument("--fault", action="append", default=[], metavar="KIND=SHARE")
    parser.add_argument("--knobs", type=json.loads, default={}, help="any of them, as JSON")
    return parser.parse_args(arguments)


def _knobs(options: argparse.Namespace) -> Knobs:
    faults = (fault.partition("=") for fault in options.fault)
    told: dict[str, Any] = {
        "latency": {"fixed_s": options.latency_s},
        "gap_s": options.gap_s,
        "limits": {"requests": options.requests_per_minute, "tokens": options.tokens_per_minute},
        "faults": {kind: float(share or 1) for kind, _, share in faults},
    }
    return knobs_from_json({**told, **options.knobs})


if __name__ == "__main__":
    main()
