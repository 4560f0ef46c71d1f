"""Measures one vLLM engine with one set of settings, in a process of its own.

In: a case as JSON on standard input (written by `vllm_fanout.py`). Out: its rows as JSON in the
file the case names; standard output and error are vLLM's log. The environment variables that vLLM
reads on import are set by the parent.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Below this the vocabulary of the models used here has its special tokens.
FIRST_PLAIN_TOKEN = 1000


@dataclass(frozen=True)
class Timing:
    """How long one call took, and how much of the machine others used meanwhile."""

    seconds: float
    own_cpu_s: float
    foreign_share: float
    prompt_tokens: int
    cached_tokens: int
    answers: tuple[tuple[float, ...], ...]


class Bench:
    """One engine under measurement."""

    def __init__(self, case: dict[str, Any]) -> None:
        from vllm import LLM, SamplingParams
        from vllm.lora.request import LoRARequest

        self.case = case
        started = time.perf_counter()
        self.llm = LLM(model=case["model"], dtype="bfloat16", **case["llm"])
        self.start_s = time.perf_counter() - started
        self.vocabulary = json.loads((Path(case["model"]) / "config.json").read_text())[
            "vocab_size"
        ]
        # One token is asked for, with the log-probabilities from which a label is read.
        self.sampling = SamplingParams(max_tokens=1, temperature=0.0, logprobs=5, detokenize=False)
        self.adapters = [
            LoRARequest(Path(folder).name, index + 1, folder)
            for index, folder in enumerate(case["adapter_folders"])
        ]

    def effective_settings(self) -> dict[str, Any]:
        """Return what vLLM made of the settings."""
        config = self.llm.llm_engine.vllm_config
        return {
            "compilation_mode": str(config.compilation_config.mode),
            "compilation_backend": config.compilation_config.backend,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_model_len": config.model_config.max_model_len,
            "block_size": config.cache_config.block_size,
            "prefix_caching": config.cache_config.enable_prefix_caching,
            "max_loras": config.lora_config.max_loras if config.lora_config else None,
            "max_lora_rank": config.lora_config.max_lora_rank if config.lora_config else None,
        }

    def tokens(self, count: int, *seed: object) -> list[int]:
        """Return token ids that are the same for the same seed: text does not change the speed."""
        source = random.Random(repr(seed))
        return [source.randrange(FIRST_PLAIN_TOKEN, self.vocabulary) for _ in range(count)]

    def generate(
        self, prompts: Sequence[list[int]], adapters: Sequence[Any] | None = None
    ) -> Timing:
        """Answer the prompts in one call, the i-th with the i-th adapter."""
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        busy, own, started = _busy_s(), _own_s(), time.perf_counter()
        outputs = self.llm.generate(
            requests,
            self.sampling,
            lora_request=None if adapters is None else list(adapters),
            use_tqdm=False,
        )
        seconds = time.perf_counter() - started
        own_s = _own_s() - own
        foreign_s = (_busy_s() - busy) - own_s
        return Timing(
            seconds=seconds,
            own_cpu_s=own_s,
            foreign_share=max(0.0, foreign_s / (seconds * psutil.cpu_count())),
            prompt_tokens=sum(len(prompt) for prompt in prompts),
            cached_tokens=sum(output.num_cached_tokens or 0 for output in outputs),
            answers=tuple(_answer(output) for output in outputs),
        )

    def row(
        self, what: str, tokens: int, timings: Sequence[Timing], asked: int = 0
    ) -> dict[str, Any]:
        """Return one row; `asked` adapters or prompts were measured and count for all of them."""
        seconds = statistics.median(timing.seconds for timing in timings)
        wanted = self.case["adapters"] if asked else 0
        return {
            "case": self.case["name"],
            "what": what,
            "tokens": tokens,
            "tail_tokens": self.case["tail_tokens"] if asked else 0,
            "adapters": wanted,
            "seconds": seconds * wanted / asked if asked else seconds,
            "measured_adapters": asked,
            "measured_s": seconds,
            "extrapolated": bool(asked) and asked < wanted,
            "runs_s": [round(timing.seconds, 4) for timing in timings],
            "own_cpu_s": [round(timing.own_cpu_s, 2) for timing in timings],
            "prompt_tokens": timings[-1].prompt_tokens,
            "cached_tokens": timings[-1].cached_tokens,
            "foreign_cpu_share": round(max(timing.foreign_share for timing in timings), 3),
        }


def measure_reading(bench: Bench, tokens: int) -> list[dict[str, Any]]:
    """Read new conversations with the base model, one at a time; nothing is in the prefix cache."""
    bench.generate([bench.tokens(tokens, "warm", tokens)])
    timings = [
        bench.generate([bench.tokens(tokens, "reading", tokens, run)])
        for run in range(bench.case["runs"])
    ]
    return [bench.row("reading", tokens, timings)]


def measure_prompts(bench: Bench, tokens: int) -> list[dict[str, Any]]:
    """Ask the base model, without adapters, all questions about one conversation.

    Once with everything given at the same time to an empty cache (`prompts_cold`), and once after
    the conversation was read (`prompts_warm`: reading and questions together).
    """
    count, tail = bench.case["adapters"], bench.case["tail_tokens"]
    cold, warm = [], []
    for run in range(-1, bench.case["runs"]):
        tails = [bench.tokens(tail, "tail", index) for index in range(count)]
        conversation = bench.tokens(tokens, "cold", tokens, run)
        cold.append(bench.generate([conversation + tail for tail in tails]))
        conversation = bench.tokens(tokens, "warm", tokens, run)
        reading = bench.generate([conversation])
        answers = bench.generate([conversation + tail for tail in tails])
        warm.append(_together(reading, answers))
    # The first of each only warms the engine up.
    return [
        bench.row("prompts_cold", tokens, cold[1:], asked=count),
        bench.row("prompts_warm", tokens, warm[1:], asked=count),
    ]


def measure_adapters(bench: Bench, tokens: int) -> list[dict[str, Any]]:
    """Ask adapters about one conversation that the base model has read just before.

    A part of the adapters is measured and counts for all of them; all are measured as well where
    they are expected to finish within the time the case allows.
    """
    asked, case = min(bench.case["measured_adapters"], bench.case["adapters"]), bench.case
    bench.generate([bench.tokens(64, "warm")], bench.adapters[:1])
    timings = [_ask(bench, tokens, asked, run) for run in range(case["adapter_runs"])]
    rows = [bench.row("adapters", tokens, timings, asked)]
    whole = case["adapters"]
    if asked < whole == len(bench.adapters) and rows[0]["seconds"] <= case["full_within_s"]:
        rows.append(bench.row("adapters", tokens, [_ask(bench, tokens, whole, -1)], whole))
    return rows


def _ask(bench: Bench, tokens: int, adapters: int, run: int) -> Timing:
    conversation = bench.tokens(tokens, "adapters", tokens, adapters, run)
    prompt = conversation + bench.tokens(bench.case["tail_tokens"], "tail")
    base = bench.generate([prompt])
    timing = bench.generate([prompt] * adapters, bench.adapters[:adapters])
    if len({base.answers[0], *timing.answers}) != adapters + 1:
        raise SystemExit("Two adapters, or one and the base, gave the same answer: not applied?")
    return timing


def _together(reading: Timing, answers: Timing) -> Timing:
    return Timing(
        seconds=reading.seconds + answers.seconds,
        own_cpu_s=reading.own_cpu_s + answers.own_cpu_s,
        foreign_share=max(reading.foreign_share, answers.foreign_share),
        prompt_tokens=reading.prompt_tokens + answers.prompt_tokens,
        cached_tokens=reading.cached_tokens + answers.cached_tokens,
        answers=answers.answers,
    )


def _answer(output: Any) -> tuple[float, ...]:
    logprobs = output.outputs[0].logprobs[0]
    return tuple(sorted(entry.logprob for entry in logprobs.values()))


def _busy_s() -> float:
    """Return the seconds all cores together have been busy, time taken by other guests included."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    return times.user + times.nice + times.system + times.irq + times.softirq + steal


def _own_s() -> float:
    """Return the processor seconds of this process and of the engine's processes."""
    process = psutil.Process()
    times = [child.cpu_times() for child in [process, *process.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


MEASURES = {
    "reading": measure_reading,
    "prompts": measure_prompts,
    "adapters": measure_adapters,
}


def main() -> None:
    """Measure the case on standard input."""
    case = json.load(sys.stdin)
    bench = Bench(case)
    if case["preload"]:
        # Reading adapter files is not what is compared.
        for adapter in bench.adapters:
            bench.llm.llm_engine.add_lora(adapter)
    rows = [
        row
        for tokens in case["tokens"]
        for what in case["measures"]
        for row in MEASURES[what](bench, tokens)
    ]
    result = {"start_s": bench.start_s, "effective": bench.effective_settings(), "rows": rows}
    Path(case["out"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
