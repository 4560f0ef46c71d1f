"""What a gateway adds to an upstream that answers at once, and what it takes to add it.

    .venv/bin/python -m benchmarks.gateway.run --peer litellm
    .venv/bin/python -m benchmarks.gateway.run --only litellm --quick

Starts ``descant gateway`` alone on the first core, and a mock upstream and the clients on the others
(``--gateway-url`` measures one that runs already, before a mock at ``--mock-port``). Added latency is
via the gateway minus direct, in rounds that alternate. Writes `results/gateway_overhead.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gateway import overhead
from benchmarks.gateway.child import free_port, stop_when_told
from benchmarks.gateway.gateways import Descant, Elsewhere, Gateway, Place, Upstream
from benchmarks.gateway.load import LoadProcesses
from benchmarks.gateway.memory import resident_bytes
from benchmarks.gateway.mocks import MockProcess
from benchmarks.gateway.peers.litellm_proxy import CannotInstall, LiteLLM, version
from benchmarks.gateway.table import table
from benchmarks.star.machine import describe

RESULTS = Path(__file__).resolve().parents[1] / "results"
_IDLE_AFTER_S = 3.0
_FIGURES: dict[str, Callable[[overhead.Bench], dict[str, Any]]] = {
    "one_client": overhead.one_client,
    "many_clients": overhead.many_clients,
    "capacity": overhead.capacity,
    "streams": overhead.streams,
    "frontier": overhead.frontier,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each gateway, print and write the table."""
    options = _options(arguments)
    stop_when_told()
    cores = sorted(os.sched_getaffinity(0))
    result = {
        **describe(),
        "how": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "other_cores": len(cores) - 1,
            "litellm": version(),
        },
        "gateways": {gateway.name: _measure(gateway, options) for gateway in _gateways(options)},
    }
    page = table(result)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "gateway_overhead.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.results / "gateway_overhead.md").write_text(page)
    print(page)


def _measure(gateway: Gateway, options: argparse.Namespace) -> dict[str, Any]:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    first, others = cores[:1], cores[1:] or cores
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), first)
        mock = MockProcess(options.mock_port or free_port(), others, place.folder, {})
        try:
            with (
                mock.up(),
                gateway.up([Upstream("mock", mock.url)], place) as running,
                LoadProcesses.started(options.processes, others) as senders,
            ):
                bench = overhead.Bench(running, mock, senders, options.rounds, options.seconds)
                return _figures(bench, options.memory_seconds)
        except (CannotInstall, RuntimeError) as error:
            return {"absent": str(error)}


def _figures(bench: overhead.Bench, memory_seconds: float) -> dict[str, Any]:
    time.sleep(_IDLE_AFTER_S)
    idle_bytes = None if bench.gateway.pid is None else resident_bytes(bench.gateway.pid)
    bench.warm()
    found: dict[str, Any] = {}
    for name, measure in _FIGURES.items():
        print(f"{bench.gateway.name}: {name} ...", file=sys.stderr, flush=True)
        found[name] = measure(bench)
    print(f"{bench.gateway.name}: memory ...", file=sys.stderr, flush=True)
    found["memory"] = overhead.memory(bench, idle_bytes, memory_seconds)
    return found


def _gateways(options: argparse.Namespace) -> list[Gateway]:
    own: Gateway = Descant()
    if options.gateway_url:
        own = Elsewhere(options.gateway_url, options.key)
    known: dict[str, Gateway] = {"descant": own, "litellm": LiteLLM()}
    if options.only:
        return [known[options.only]]
    return [own, *(known[name] for name in options.peer)]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", action="append", choices=["litellm"], default=[])
    parser.add_argument("--only", choices=["descant", "litellm"])
    parser.add_argument("--gateway-url", help="of a gateway whose upstream is --mock-port")
    parser.add_argument("--key", help="for --gateway-url")
    parser.add_argument("--mock-port", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--memory-seconds", type=float, default=120.0)
    parser.add_argument("--processes", type=int, default=1, help="of the client")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.memory_seconds = 1, 1.0, 5.0
    return options


if __name__ == "__main__":
    main()
