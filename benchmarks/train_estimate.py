"""How far off the estimate of a dry run is: sample calls, planned and then trained.

Each case is one recipe. The dry run and the training are processes of their own; what the training
takes is its own time and the largest memory the system saw.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe

from descant.data import generate_calls, sample_indicators, write_jsonl
from descant.schema import indicator_toml

ATTENTION = 'target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"]'
CASES = {
    "attention only, rank 8, 3 epochs": f"rank = 8\nmin_steps = 1\n{ATTENTION}",
    "all modules, rank 16, 3 epochs": "min_steps = 1",
    "all modules, rank 16, at least 100 steps": "",
    "readings of half the calls kept": "min_steps = 1\nreading_cache_bytes = 800_000_000",
}


def measure(folder: Path, settings: str) -> dict[str, Any]:
    """Plan and train one recipe; return both beside each other."""
    recipe = folder / "recipe.toml"
    recipe.write_text(
        'base = "smollm2-135m-instruct"\nindicators = "indicators"\noutput = "adapters"\n'
        f'[data]\ntrain = "calls.jsonl"\n[training]\n{settings}\n'
    )
    plan, _ = _descant("train", str(recipe), "--dry-run", "--json")
    done, peak_bytes = _descant("train", str(recipe), "--json")
    estimated_bytes = plan["memory"]["total_bytes"]
    return {
        "conversations": plan["conversations"],
        "steps": plan["tokens"]["steps"],
        "tried_steps": plan["rehearsal"]["steps"],
        "tried_s": plan["rehearsal"]["read_s"] + plan["rehearsal"]["tail_s"],
        "estimated_s": plan["time_s"],
        "measured_s": done["time_s"],
        "time_ratio": plan["time_s"] / done["time_s"],
        "estimated_bytes": estimated_bytes,
        "measured_bytes": peak_bytes,
        "memory_ratio": estimated_bytes / peak_bytes,
    }


def _descant(*arguments: str) -> tuple[dict[str, Any], int]:
    """Run a command; return what it printed and its largest resident memory in bytes."""
    command = [sys.executable, "-m", "descant", *arguments]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
        out.seek(0)
        return json.loads(out.read()), usage.ru_maxrss * 1024


def main() -> None:
    """Measure every case and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=184)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(folder / "calls.jsonl", generate_calls(options.calls, seed=0))
        (folder / "indicators").mkdir()
        for indicator in sample_indicators():
            path = folder / "indicators" / f"{indicator.name}.toml"
            path.write_text(indicator_toml(indicator))
        rows = {name: measure(folder, settings) for name, settings in CASES.items()}
    result = {**describe(), "calls": options.calls, "cases": rows}
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
