"""Decoding of one sequence and prefill on llama.cpp: the GGUF file as it is, and as bfloat16.

Runs in llama.cpp's own virtual environment (see `run_llamacpp_serve`). Prints one JSON object:
versions, settings, and rows of medians whose names are those of `descant bench serve`.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peer_process import CORES, ROOT, ask_descant, measure_case

WORK = ROOT / "runs" / "llamacpp_serve"
CASES = ("as_is", "bfloat16")


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128, help="output tokens")
    parser.add_argument("--prefill", type=int, nargs="*", default=[1000, 3000])
    parser.add_argument("--runs", type=int, default=3, help="behind one that only warms up")
    parser.add_argument("--model", type=Path, help="GGUF file; default: Descant's embedded model")
    parser.add_argument("--llama", type=json.loads, default={}, help="further settings, JSON")
    parser.add_argument("--case-limit", type=float, default=1800.0, help="seconds for one case")
    return parser.parse_args(arguments)


def embedded_file() -> Path:
    """Return the GGUF file of the installed package that Descant's embedded model comes from."""
    code = (
        "from importlib.metadata import distribution as d; "
        "from descant.model.embedded import SMOLLM2 as m; "
        "print(d(m.package).locate_file(m.member))"
    )
    return Path(ask_descant(code))


def run_case(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case; where it fails, once more without repacked weights, and say so."""
    threads = {"n_ctx": 4096, "n_threads": CORES, "n_threads_batch": CORES}
    case = {
        "name": name,
        "model": str(options.model),
        "bfloat16": name == "bfloat16",
        "prompt_tokens": options.prompt_tokens,
        "tokens": options.tokens,
        "prefill": options.prefill,
        "runs": options.runs,
        "llama": threads | options.llama,
        "repack": True,
        "out": str(WORK / f"{name}.json"),
    }
    result, failure = measure_case("llamacpp_serve_case.py", case, {}, options.case_limit)
    if result is None:
        case["repack"] = False
        result, failure_too = measure_case("llamacpp_serve_case.py", case, {}, options.case_limit)
        failure = failure or "no message"
    if result is None:
        raise SystemExit(f"llama.cpp failed, case {name}:\n{failure}\n{failure_too}")
    settings = case["llama"] | {"use_extra_bufts": case["repack"]}
    return {"name": name, "settings": settings, "first_failure": failure, **result}


def main() -> None:
    """Measure the cases asked for and print them."""
    options = parse_options(sys.argv[1:])
    options.model = embedded_file() if options.model is None else options.model
    WORK.mkdir(parents=True, exist_ok=True)
    cases = [run_case(name, options) for name in options.cases]
    versions = {"llama-cpp-python": version("llama-cpp-python")}
    print(json.dumps({"versions": versions, "cores": CORES, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
