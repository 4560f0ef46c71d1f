"""Measures decoding and prefill on one vLLM engine with one set of settings, in its own process.

In: a case as JSON on standard input (written by `vllm_serve.py`). Out: its rows as JSON in the file
the case names; standard output and error are vLLM's log. What is timed is what
`descant.cli.bench_decode` times: the steps in which every request of the batch decodes.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Below this the vocabulary of the models used here has its special tokens.
FIRST_PLAIN_TOKEN = 1000


class Bench:
    """One engine under measurement."""

    def __init__(self, case: dict[str, Any]) -> None:
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self.case = case
        llm = LLM(model=case["model"], dtype="bfloat16", **case["llm"])
        self.engine = llm.llm_engine
        config = json.loads((Path(case["model"]) / "config.json").read_text())
        self.vocabulary = config["vocab_size"]
        self.adapters = [
            LoRARequest(Path(folder).name, index + 1, folder)
            for index, folder in enumerate(case["adapter_folders"])
        ]
        # Reading adapter files is not what is compared.
        for adapter in self.adapters:
            self.engine.add_lora(adapter)
        self.random = random.Random(7)
        self.asked = 0

    def effective_settings(self) -> dict[str, Any]:
        """Return what vLLM made of the settings."""
        config = self.engine.vllm_config
        return {
            "compilation_mode": str(config.compilation_config.mode),
            "compilation_backend": config.compilation_config.backend,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "async_scheduling": config.scheduler_config.async_scheduling,
            "max_loras": config.lora_config.max_loras if config.lora_config else None,
        }

    def submit(self, prompt_tokens: int, output_tokens: int) -> None:
        """Queue a prompt of random tokens; the i-th one asked for has adapter i modulo their number."""
        from vllm import SamplingParams

        words = [
            self.random.randrange(FIRST_PLAIN_TOKEN, self.vocabulary) for _ in range(prompt_tokens)
        ]
        sampling = SamplingParams(
            max_tokens=output_tokens, temperature=0.0, ignore_eos=True, detokenize=False
        )
        count = len(self.adapters)
        adapter = self.adapters[self.asked % count] if count else None
        self.asked += 1
        prompt = {"prompt_token_ids": words}
        self.engine.add_request(str(self.asked), prompt, sampling, lora_request=adapter)

    def decode(self, batch: int) -> float:
        """Return tokens a second while every request has begun and none has ended."""
        for _ in range(batch):
            self.submit(self.case["prompt_tokens"], self.case["output_tokens"])
        produced: dict[str, int] = {}
        started, tokens = 0.0, 0
        has_ended = False
        while not has_ended:
            was_full = len(produced) == batch
            for output in self.engine.step():
                count = len(output.outputs[0].token_ids)
                if count:
                    produced[output.request_id] = count
                has_ended |= output.finished
            if len(produced) == batch and not was_full:
                started, tokens = time.perf_counter(), sum(produced.values())
        seconds = time.perf_counter() - started
        tokens = sum(produced.values()) - tokens
        self.drain()
        if len(produced) < batch or not tokens:
            raise SystemExit("The first request ended before the last one had begun.")
        return tokens / seconds

    def read(self, tokens: int) -> float:
        """Return prompt tokens a second, up to the first output token."""
        started = time.perf_counter()
        self.submit(tokens, 1)
        self.drain()
        return tokens / (time.perf_counter() - started)

    def drain(self) -> None:
        """Compute what is left."""
        while self.engine.has_unfinished_requests():
            self.engine.step()

    def row(self, name: str, batch: int, tokens: int, work: Callable[[], float]) -> dict[str, Any]:
        """Return the median of the runs behind one that only warms up."""
        found = [work() for _ in range(self.case["runs"] + 1)][1:]
        return {
            "name": name,
            "batch": batch,
            "tokens": tokens,
            "tokens_per_s": statistics.median(found),
            "runs_tokens_per_s": [round(value, 2) for value in found],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Measure everything that the case asks for."""
        count, tokens = len(self.adapters), self.case["output_tokens"]
        name = f"decode, {count} adapters" if count else "base decode"
        decoding = [
            self.row(name, batch, tokens, lambda batch=batch: self.decode(batch))
            for batch in self.case["batches"]
        ]
        reading = [
            self.row("base prefill", 1, length, lambda length=length: self.read(length))
            for length in self.case["prefill"]
        ]
        return decoding + reading


def main() -> None:
    """Measure the case on standard input."""
    case = json.load(sys.stdin)
    bench = Bench(case)
    result = {"effective": bench.effective_settings(), "rows": bench.rows()}
    Path(case["out"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
