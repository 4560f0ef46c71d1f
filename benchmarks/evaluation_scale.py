"""How long the statistics take at scale: 100,000 predictions of 60 indicators, 2,000 resamples.

    .venv/bin/python -m benchmarks.evaluation_scale

Two completers answer the same questions. Measured are every figure of each indicator with its interval
(`build_report` with a baseline), the paired comparison over all indicators, the worst slices and the
release decision. Peak memory is that of the whole process, outcomes included. Limits: 60 s, 2 GB, two
cores. Writes `results/evaluation_scale.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.star.machine import describe

from descant.evaluation import (
    Outcome,
    Predictions,
    ReleaseEvidence,
    ReleasePolicy,
    Slice,
    build_report,
    compare_paired,
    decide_release,
    worst_slices,
)
from descant.schema import Answer, Indicator

RESULTS = Path(__file__).parent / "results"
LABELS = ("no", "partly", "yes", "unclear")
LIMIT_S, LIMIT_BYTES = 60, 2_000_000_000


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--indicators", type=int, default=60)
    args = parser.parse_args()
    indicators = _indicators(args.indicators)
    rows = -(-args.predictions // args.indicators)
    ours, theirs = (_predictions(indicators, rows, seed) for seed in (1, 2))
    slices = _slices(rows)
    steps: dict[str, Callable[[], object]] = {
        "figures of every indicator, both completers": lambda: build_report(
            indicators, ours, {"champion": theirs}
        ).to_json(),
        "paired comparison over all indicators": lambda: compare_paired(indicators, ours, theirs),
        "worst of 30 slices": lambda: worst_slices(ours, slices),
        "release decision, 30 slices": lambda: decide_release(
            indicators, ours, theirs, ReleasePolicy(), ReleaseEvidence(slices)
        ).to_json(),
    }
    seconds = {name: _timed(step) for name, step in steps.items()}
    result = {
        **describe(),
        "predictions": len(ours.outcomes),
        "conversations": rows,
        "indicators": len(indicators),
        "resamples": 2000,
        "seconds": seconds,
        "total_s": round(sum(each["wall_s"] for each in seconds.values()), 2),
        "total_processor_s": round(sum(each["processor_s"] for each in seconds.values()), 2),
        "load_average": os.getloadavg()[0],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "limit_s": LIMIT_S,
        "limit_bytes": LIMIT_BYTES,
    }
    (RESULTS / "evaluation_scale.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _text(result)
    (RESULTS / "evaluation_scale.md").write_text(text)
    print(text)


def _indicators(count: int) -> tuple[Indicator, ...]:
    sizes = [2 + at % 3 for at in range(count)]
    return tuple(
        Indicator(
            f"indicator_{at}",
            "Is it?",
            LABELS[:size],
            (LABELS[size - 1],),
            "binary" if size == 2 else "ordinal",
            f"indicator_{at}",
        )
        for at, size in enumerate(sizes)
    )


def _predictions(indicators: tuple[Indicator, ...], rows: int, seed: int) -> Predictions:
    outcomes = []
    truth, chance = np.random.default_rng(0), np.random.default_rng(seed)
    for indicator in indicators:
        labels = indicator.labels
        right = truth.integers(0, len(labels), rows)
        shares = chance.dirichlet(np.ones(len(labels)), rows)
        # Right about five times in six.
        shares[np.arange(rows), right] += 2.0
        shares[chance.random(rows) < 0.15] = np.roll(np.eye(len(labels))[0], 1) + 0.1
        shares /= shares.sum(axis=1, keepdims=True)
        for at in range(rows):
            answer = _answer(indicator, shares[at].tolist())
            outcomes.append(Outcome(f"call-{at}", indicator.name, labels[right[at]], answer))
    return Predictions("scale", tuple(outcomes))


def _answer(indicator: Indicator, shares: list[float]) -> Answer:
    best = max(range(len(shares)), key=shares.__getitem__)
    table = dict(zip(indicator.labels, shares, strict=True))
    return Answer(indicator.name, indicator.labels[best], table, shares[best], None)


def _slices(rows: int) -> tuple[Slice, ...]:
    agents = [frozenset(f"call-{at}" for at in range(agent, rows, 30)) for agent in range(30)]
    return tuple(Slice("agent", str(at), ids) for at, ids in enumerate(agents))


def _timed(step: Callable[[], object]) -> dict[str, float]:
    started, busy = time.perf_counter(), time.process_time()
    step()
    return {
        "wall_s": round(time.perf_counter() - started, 2),
        "processor_s": round(time.process_time() - busy, 2),
    }


def _text(result: dict[str, Any]) -> str:
    lines = [
        "# Statistics at scale",
        "",
        f"{result['predictions']:,} predictions of each of two completers on "
        f"{result['conversations']:,} conversations and {result['indicators']} indicators, "
        f"{result['resamples']:,} resamples or more. {result['date']}, commit {result['commit']}, "
        f"{result['machine']}, one thread; load average {result['load_average']:.1f}.",
        "",
        "| step | seconds | of the processor |",
        "|---|---:|---:|",
        *(
            f"| {name} | {each['wall_s']:.1f} | {each['processor_s']:.1f} |"
            for name, each in result["seconds"].items()
        ),
        f"| all (limit {result['limit_s']}) | {result['total_s']:.1f} "
        f"| {result['total_processor_s']:.1f} |",
        "",
        f"Peak memory of the process: {result['peak_bytes'] / 1e9:.2f} GB "
        f"(limit {result['limit_bytes'] / 1e9:.0f}).",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
