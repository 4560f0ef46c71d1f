"""How often the release gate is wrong, and how much it sees: simulated releases of which the truth is known.

    .venv/bin/python -m benchmarks.gate_simulation

False promotions: candidates that are worse than the champion by exactly the margin, the hardest ones that
must not pass; alpha is 0.05. Power: the share promoted over what is true. Writes
`results/gate_simulation.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe

from descant.evaluation import ReleasePolicy, ReleaseWorld, simulate_releases

RESULTS = Path(__file__).parent / "results"
MARGIN = 0.03
WORLDS: tuple[tuple[str, str, ReleaseWorld], ...] = (
    ("accuracy", "300 rows", ReleaseWorld(-0.03)),
    ("accuracy", "100 rows, hardly any change", ReleaseWorld(-0.03, rows=100, discordance=0.01)),
    ("accuracy", "30 agents who differ", ReleaseWorld(-0.03, agents=30)),
    ("macro_f1", "300 rows", ReleaseWorld(-0.03)),
    ("macro_f1", "100 rows", ReleaseWorld(-0.03, rows=100)),
    ("macro_f1", "1,000 rows", ReleaseWorld(-0.03, rows=1000)),
    ("macro_f1", "100 rows, hardly any change", ReleaseWorld(-0.03, rows=100, discordance=0.01)),
    (
        "macro_f1",
        "one in ten positive",
        ReleaseWorld(-0.03, rows=500, positive_share=0.1, accuracy=0.92),
    ),
    ("macro_f1", "30 agents who differ", ReleaseWorld(-0.03, agents=30)),
    ("macro_f1", "3 indicators, 200 rows", ReleaseWorld(-0.03, rows=200, indicators=3)),
)
DIFFERENCES = (-0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)


def main() -> None:
    """Run both, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=2000)
    parser.add_argument("--power-releases", type=int, default=500)
    args = parser.parse_args()
    started = time.perf_counter()
    result = {
        **describe(),
        "alpha": 0.05,
        "margin": MARGIN,
        "false_promotions": [_row(*world, args.releases) for world in WORLDS],
        "power": [_row(*world, args.power_releases) for world in _power_worlds()],
        "seconds": round(time.perf_counter() - started, 1),
    }
    (RESULTS / "gate_simulation.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _text(result)
    (RESULTS / "gate_simulation.md").write_text(text)
    print(text)


def _power_worlds() -> list[tuple[str, str, ReleaseWorld]]:
    return [
        ("accuracy", f"{rows:,} rows", ReleaseWorld(difference, rows=rows))
        for rows in (100, 300, 1000, 3000)
        for difference in DIFFERENCES
    ] + [("macro_f1", "300 rows", ReleaseWorld(difference)) for difference in DIFFERENCES]


def _row(measure: str, name: str, world: ReleaseWorld, releases: int) -> dict[str, Any]:
    shares = simulate_releases(world, ReleasePolicy(measure=measure, margin=MARGIN), releases)
    print(measure, name, world.difference, shares.promoted_share, flush=True)
    return {
        "measure": measure,
        "name": name,
        "world": asdict(world),
        **asdict(shares),
        "promoted_share": shares.promoted_share,
        "promoted_interval": list(shares.promoted_interval),
    }


def _text(result: dict[str, Any]) -> str:
    lines = [
        "# The release gate, simulated",
        "",
        f"Margin {MARGIN * 100:.0f} points, alpha 0.05. {result['date']}, commit {result['commit']}, "
        f"{result['machine']}, one thread, {result['seconds']:.0f} s.",
        "",
        f"## False promotions: the candidate is worse by {MARGIN * 100:.0f} points",
        "",
        "| measure | world | releases | promoted | 95 % interval | held | rejected |",
        "|---|---|---:|---:|---|---:|---:|",
        *(_false_line(row) for row in result["false_promotions"]),
        "",
        "## Power: the share promoted, by what is true",
        "",
        "| measure | world | " + " | ".join(f"{d * 100:+.0f}" for d in DIFFERENCES) + " |",
        "|---|---|" + "---:|" * len(DIFFERENCES),
        *_power_lines(result["power"]),
    ]
    return "\n".join([*lines, ""])


def _false_line(row: dict[str, Any]) -> str:
    low, high = row["promoted_interval"]
    held, rejected = (row[key] / row["releases"] for key in ("held", "rejected"))
    return (
        f"| {row['measure']} | {row['name']} | {row['releases']:,} | {row['promoted_share']:.2%} "
        f"| {low:.2%} to {high:.2%} | {held:.1%} | {rejected:.1%} |"
    )


def _power_lines(rows: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys((row["measure"], row["name"]) for row in rows)
    cells = {(r["measure"], r["name"], r["world"]["difference"]): r["promoted_share"] for r in rows}
    return [
        f"| {measure} | {name} | "
        + " | ".join(f"{cells[measure, name, each]:.0%}" for each in DIFFERENCES)
        + " |"
        for measure, name in names
    ]


if __name__ == "__main__":
    main()
