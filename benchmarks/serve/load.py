"""Load: time to first token and between tokens at 1, 4, 16 and 64 callers, measured by AIPerf.

Starts ``descant serve`` by itself, on a tiny random model unless a folder is named, and lets AIPerf
send streamed chats to ``/v1/chat/completions``, each level of callers after the other. Every prompt is
new, so that no reading is shared; a first few requests are not counted. Prints a table and writes
JSON. `run_load` installs AIPerf into an environment of its own and calls this.

    benchmarks/serve/run_load --model FOLDER --output results/serve_load.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe
from tests.server.live import write_served
from tests.server.process import serving

CLIENTS = (1, 4, 16, 64)
SHOWN = {
    "time_to_first_token": "first token",
    "inter_chunk_latency": "between pieces",
    "inter_token_latency": "between tokens (mean of a request)",
}
QUANTILES = ("p50", "p99")
TIMEOUT_S = 3600


def measure(address: str, clients: int, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Let AIPerf run one level and return its figures, in milliseconds."""
    requests = max(options.requests, 2 * clients)
    command = [
        *(str(options.aiperf), "profile", "--url", address, "--model", "tiny", "--ui", "none"),
        *("--endpoint-type", "chat", "--streaming", "--use-legacy-max-tokens"),
        *("--tokenizer", str(place / "model"), "--use-server-token-count", "--no-gpu-telemetry"),
        *("--synthetic-input-tokens-mean", str(options.prompt_tokens)),
        *("--output-tokens-mean", str(options.output_tokens)),
        *("--extra-inputs", "ignore_eos:true", "--extra-inputs", "temperature:0"),
        *("--concurrency", str(clients), "--request-count", str(requests)),
        *("--warmup-request-count", str(max(2, clients)), "--random-seed", str(clients)),
        *("--request-timeout-seconds", "600", "--artifact-dir", str(place / f"at-{clients}")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    report = place / f"at-{clients}" / "profile_export_aiperf.json"
    if done.returncode or not report.exists():
        sys.exit(
            f"AIPerf failed with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    told = json.loads(report.read_text())
    return {
        "clients": clients,
        "requests": told["request_count"]["avg"],
        "errors": told["error_summary"],
        "output_tokens_per_s": round(told["output_token_throughput"]["avg"], 1),
        # With one piece an answer there is nothing between pieces.
        **{
            f"{name}_ms": {q: round(told[name][q], 2) for q in QUANTILES}
            for name in SHOWN
            if name in told
        },
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a line for each level."""
    print("| callers | tokens/s | " + " | ".join(f"{SHOWN[n]}, p50 / p99 ms" for n in SHOWN) + " |")
    print("|---|---|" + "---|" * len(SHOWN))
    for row in rows:
        found = [row.get(f"{name}_ms") for name in SHOWN]
        cells = [f"{cell['p50']} / {cell['p99']}" if cell else "" for cell in found]
        print(f"| {row['clients']} | {row['output_tokens_per_s']} | " + " | ".join(cells) + " |")


def main() -> None:
    """Serve, measure every level, print and write."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_served(place)
        sizes = ("--kv-cache-gib", str(options.kv_cache_gib), "--threads", str(options.threads))
        if options.model is not None:
            for name in ("model", "adapters"):
                shutil.rmtree(place / name)
            (place / "model").symlink_to(options.model.resolve(), target_is_directory=True)
        with serving(place, *sizes) as server:
            rows = [measure(server.address, clients, options, place) for clients in options.clients]
            code = server.terminate()
    tool = subprocess.run(
        [options.aiperf, "--version"], capture_output=True, text=True, check=False
    )
    result = {
        **describe(),
        "tool": f"AIPerf {tool.stdout.strip()}",
        "model": "tiny random" if options.model is None else options.model.name,
        "threads": options.threads,
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.output_tokens,
        "levels": rows,
        "exit_code": code,
    }
    print_table(rows)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(any(row["errors"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--aiperf", type=Path, required=True, help="AIPerf's command")
    parser.add_argument("--model", type=Path, help="a model folder with its tokenizer")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--requests", type=int, default=64, help="for each level, at least")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--kv-cache-gib", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
