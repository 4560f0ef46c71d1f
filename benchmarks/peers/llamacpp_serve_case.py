"""Measures decoding of one sequence and prefill on llama.cpp with one file, in its own process.

In: a case as JSON on standard input (written by `llamacpp_serve.py`). Out: its rows as JSON in the
file the case names; standard output and error are the log.
"""

from __future__ import annotations

import ctypes
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp

# Where the binding looks the defaults up; its constructor does not offer all of them.
from llama_cpp import llama_cpp as native

# Below this the vocabulary of the models used here has its special tokens.
FIRST_PLAIN_TOKEN = 1000
BFLOAT16 = 32  # LLAMA_FTYPE_MOSTLY_BF16


def as_bfloat16(source: Path, target: Path) -> Path:
    """Return the file with its weights in bfloat16, as Descant computes; written on the first call."""
    if target.exists():
        return target
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = BFLOAT16, True
    partial = target.with_suffix(".partial")
    failed = llama_cpp.llama_model_quantize(
        str(source).encode(), str(partial).encode(), ctypes.byref(params)
    )
    if failed:
        raise SystemExit(f"{source} could not be written as bfloat16.")
    partial.rename(target)
    return target


class Bench:
    """One model under measurement, on all cores."""

    def __init__(self, path: Path, settings: dict[str, Any], repacks_weights: bool):
        defaults = native.llama_model_default_params()
        defaults.use_extra_bufts = repacks_weights
        native.llama_model_default_params = lambda: defaults
        self.llama = llama_cpp.Llama(str(path), verbose=False, **settings)
        self.random = random.Random(7)

    def tokens(self, count: int) -> list[int]:
        """Return random token ids: text does not change the speed."""
        vocabulary = self.llama.n_vocab()
        return [self.random.randrange(FIRST_PLAIN_TOKEN, vocabulary) for _ in range(count)]

    def read(self, tokens: int) -> float:
        """Return prompt tokens a second, up to the first output token."""
        prompt = self.tokens(tokens)
        self.llama.reset()
        started = time.perf_counter()
        self.llama.eval(prompt)
        self.llama.sample(temp=0.0)
        return tokens / (time.perf_counter() - started)

    def decode(self, prompt_tokens: int, output_tokens: int) -> float:
        """Return tokens a second behind the first output token, greedily chosen."""
        self.llama.reset()
        self.llama.eval(self.tokens(prompt_tokens))
        token = self.llama.sample(temp=0.0)
        started = time.perf_counter()
        for _ in range(output_tokens - 1):
            self.llama.eval([token])
            token = self.llama.sample(temp=0.0)
        return (output_tokens - 1) / (time.perf_counter() - started)


def _row(name: str, tokens: int, runs: int, work: Callable[[], float]) -> dict[str, Any]:
    """Return the median of the runs behind one that only warms up."""
    found = [work() for _ in range(runs + 1)][1:]
    return {
        "name": name,
        "batch": 1,
        "tokens": tokens,
        "tokens_per_s": statistics.median(found),
        "runs_tokens_per_s": [round(value, 2) for value in found],
    }


def main() -> None:
    """Measure the case on standard input."""
    case = json.load(sys.stdin)
    path = Path(case["model"])
    if case["bfloat16"]:
        path = as_bfloat16(path, Path(case["out"]).with_name(f"{path.stem}.bf16.gguf"))
    bench, runs, tokens = Bench(path, case["llama"], case["repack"]), case["runs"], case["tokens"]
    rows = [_row("base decode", tokens, runs, partial(bench.decode, case["prompt_tokens"], tokens))]
    rows += [
        _row("base prefill", length, runs, partial(bench.read, length))
        for length in case["prefill"]
    ]
    effective = {"file": path.name, "system": llama_cpp.llama_print_system_info().decode()}
    Path(case["out"]).write_text(json.dumps({"effective": effective, "rows": rows}))


if __name__ == "__main__":
    main()
