"""Load on any server that speaks OpenAI's dialect; latency counts from when a request was due.

python -m benchmarks.gateway.client --url http://127.0.0.1:9001 --rate 200 --seconds 10
python -m benchmarks.gateway.client --url http://127.0.0.1:9001 --clients 64 --stream
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from benchmarks.gateway.child import stop_when_told
from benchmarks.gateway.load import ClosedLoop, Load, LoadProcesses, OpenLoop, Target, chat_body


def main(arguments: Sequence[str] | None = None) -> None:
    """Send, and print what was measured as JSON."""
    options = _options(arguments)
    stop_when_told()
    wishes: dict[str, Any] = {"max_tokens": options.max_tokens}
    if options.stream:
        wishes |= {"stream": True, "stream_options": {"include_usage": True}}
    bodies = tuple(chat_body(index, options.model, wishes) for index in range(64))
    headers = (("authorization", f"Bearer {options.key}"),) if options.key else ()
    target = Target(options.url.rstrip("/") + "/v1/chat/completions", bodies, headers)
    loop = OpenLoop(options.rate, options.arrivals) if options.rate else ClosedLoop(options.clients)
    cores = options.cores or sorted(os.sched_getaffinity(0))
    with LoadProcesses.started(options.processes, cores) as processes:
        measured = processes.drive(Load(target, loop, options.seconds, options.timeout_s))
    print(json.dumps(measured.to_json(), indent=1))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=1, help="closed loop")
    parser.add_argument("--rate", type=float, help="open loop, requests a second")
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--timeout-s", type=float, default=30.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cores", type=int, nargs="*")
    parser.add_argument("--model", default="mock")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--key")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
