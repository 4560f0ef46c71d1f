"""Soak: tens of thousands of mixed requests against one server; nothing fails, nothing is left over.

Starts ``descant serve`` by itself, on a tiny random model in a temporary folder unless one is named.
Callers chat (base and adapters, streams, several choices, forms, stop strings), complete, score and
embed; some leave in the middle; adapters are loaded, replaced and unloaded in between; some ask for
what is not there or send nonsense. In the end: no answer that is the server's fault, memory as it
was after the first part, every block and slot given back. Ends with 1 where that is not so.

    python -m benchmarks.serve.soak --requests 20000 --clients 32 --output results/serve_soak.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from benchmarks.serve.histogram import quantile
from benchmarks.star.machine import describe
from tests.server.live import write_served
from tests.server.process import Process, figures_in, serving

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
LAG = "descant_event_loop_lag_seconds"
WORDS = ["hello", "there", "yes", "no", "good", "morning", "what", "can", "I", "do", "for", "you", "refund", "the", "order", "please"]
PARTS, WARM_PARTS = 10, 4
"""Memory is read after each part; kernels and grammars have been made after the first few."""
TIMEOUT_S, LEAVES_AFTER_S = 120.0, 0.05


@dataclass(frozen=True)
class Asked:
    """One request, and which answers to it are right."""

    kind: str
    path: str
    body: Any
    right: frozenset[int] = frozenset({200})
    leaves_after: int | None = None
    """Lines of a stream, or 0 for leaving before the answer."""


@dataclass
class Seen:
    """What was answered."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, asked: Asked, status: int | str, text: str = "") -> None:
        """Count an answer; one that is not right is kept with its text."""
        self.statuses[asked.kind, str(status)] += 1
        if isinstance(status, int) and status not in asked.right:
            self.wrong.append(f"{asked.kind}: {status} {text[:300]}")

    def add(self, other: Seen) -> None:
        """Count what was seen elsewhere too."""
        self.statuses += other.statuses
        self.wrong += other.wrong


@dataclass(frozen=True)
class Traffic:
    """Makes requests for one server."""

    base: str
    adapters: tuple[str, ...]
    folder: Path
    """Where adapters to load lie."""
    indicators: tuple[str, ...]

    def next(self, chance: random.Random) -> Asked:
        """Return a request of a random kind."""
        makers = {
            self.chat: 40,
            self.completion: 12,
            self.scores: 12,
            self.embeddings: 8,
            self.leaving: 12,
            self.changed_adapter: 8,
            self.mistake: 8,
        }
        [make] = chance.choices(list(makers), list(makers.values()))
        return make(chance)

    def chat(self, chance: random.Random) -> Asked:
        """Return a chat that is to be answered."""
        model, right = self._model(chance)
        body = {"model": model, **_chat(chance), "stream": chance.random() < 0.5}
        kind = chance.choice(("plain", "n", "form", "stop", "logprobs"))
        body |= {
            "plain": {},
            "n": {"n": chance.randint(2, 4)},
            "form": chance.choice(FORMS),
            "stop": {"stop": [chance.choice("aeiou "), "never said"]},
            "logprobs": {"logprobs": True, "top_logprobs": 3},
        }[kind]
        return Asked(f"chat {kind}", CHAT, body, right)

    def completion(self, chance: random.Random) -> Asked:
        """Return one prompt or several."""
        prompts = [_text(chance) for _ in range(chance.randint(1, 3))]
        body = {"model": self.base, "prompt": prompts, "max_tokens": chance.randint(1, 24)}
        return Asked("completion", COMPLETE, {**body, "stream": chance.random() < 0.3})

    def scores(self, chance: random.Random) -> Asked:
        """Return a conversation to score."""
        turns = [{"speaker": "customer", "text": _text(chance)} for _ in range(3)]
        body: dict[str, Any] = {"conversation": {"turns": turns}}
        if self.indicators and chance.random() < 0.5:
            body["indicators"] = [chance.choice(self.indicators)]
        return Asked("scores", "/v1/scores", body)

    def embeddings(self, chance: random.Random) -> Asked:
        """Return texts to embed."""
        body = {"model": self.base, "input": [_text(chance) for _ in range(chance.randint(1, 4))]}
        return Asked("embeddings", "/v1/embeddings", body)

    def leaving(self, chance: random.Random) -> Asked:
        """Return a long chat whose caller does not wait for the end."""
        model, right = self._model(chance)
        body = {"model": model, **_chat(chance), "max_tokens": 400, "ignore_eos": True}
        after = chance.choice((0, 1, 5, 20))
        return Asked("leaving", CHAT, {**body, "stream": after > 0}, right, after)

    def changed_adapter(self, chance: random.Random) -> Asked:
        """Return a change of an adapter that others are asking for."""
        name, path = f"extra-{chance.randrange(3)}", self.folder / chance.choice(self.adapters)
        if chance.random() < 0.4:
            body: dict[str, Any] = {"lora_name": name}
            return Asked("unload", "/v1/unload_lora_adapter", body, frozenset({200, 404}))
        body = {"lora_name": name, "lora_path": str(path), "load_inplace": chance.random() < 0.8}
        # Another one of that name may be there; one that was may have gone in between.
        return Asked("load", "/v1/load_lora_adapter", body, frozenset({200, 400, 404}))

    def mistake(self, chance: random.Random) -> Asked:
        """Return what has to be refused."""
        chat = {"model": self.base, **_chat(chance)}
        wrong = (
            ({**chat, "model": "nobody"}, 404),
            ({**chat, "best_of": 2}, 400),
            ({**chat, "max_tokens": 10**7}, 400),
            ({**chat, "messages": []}, 400),
            ({**chat, "response_format": {"type": "json_schema", "json_schema": {}}}, 400),
            (b"{not json", 400),
            (b" " * (3 << 20), 413),
        )
        body, status = chance.choice(wrong)
        return Asked(f"mistake {status}", CHAT, body, frozenset({status}))

    def _model(self, chance: random.Random) -> tuple[str, frozenset[int]]:
        if self.adapters and chance.random() < 0.15:
            # It may have been unloaded, or not have been loaded yet.
            return f"extra-{chance.randrange(3)}", frozenset({200, 404})
        return chance.choice((self.base, *self.adapters)), frozenset({200})


FORMS = (
    {"structured_outputs": {"choice": ["yes", "no"]}},
    {"structured_outputs": {"regex": "[ab]{3}"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "x",
                "schema": {
                    "type": "object",
                    "properties": {"sure": {"type": "boolean"}},
                    "required": ["sure"],
                    "additionalProperties": False,
                },
            },
        }
    },
)


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 30)))


def _chat(chance: random.Random) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": _text(chance)}],
        "max_tokens": chance.randint(1, 32),
        "temperature": chance.choice((0.0, 1.0)),
    }


async def ask_and_leave(client: httpx.AsyncClient, asked: Asked, seen: Seen) -> None:
    """Send one request and hang up before its answer."""
    try:
        async with asyncio.timeout(LEAVES_AFTER_S):
            answer = await client.post(asked.path, json=asked.body)
            seen.note(asked, answer.status_code, answer.text)
    except TimeoutError:
        seen.note(asked, "left")


async def ask(client: httpx.AsyncClient, asked: Asked, seen: Seen) -> None:
    """Send one request and read its answer, or so much of it as this caller waits for."""
    data = asked.body if isinstance(asked.body, bytes) else json.dumps(asked.body).encode()
    head = {"content-type": "application/json"}
    async with client.stream("POST", asked.path, content=data, headers=head) as answer:
        count, text = 0, ""
        async for line in answer.aiter_lines():
            count, text = count + 1, line or text
            if asked.leaves_after is not None and count >= asked.leaves_after:
                seen.note(asked, answer.status_code, text)
                return
    seen.note(asked, answer.status_code, text)
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    if is_stream and text != "data: [DONE]":
        seen.wrong.append(f"{asked.kind}: a stream ended with {text[:300]}")


async def send(address: str, traffic: Traffic, count: int, clients: int, seed: int) -> Seen:
    """Send so many requests from so many callers at once."""
    seen, chance, left = Seen(), random.Random(seed), iter(range(count))
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, limits=limits) as client:

        async def call() -> None:
            for _ in left:
                asked = traffic.next(chance)
                send_it = ask_and_leave if asked.leaves_after == 0 else ask
                try:
                    await send_it(client, asked, seen)
                except httpx.TransportError as error:
                    seen.wrong.append(f"{asked.kind}: {error!r}")

        await asyncio.gather(*(call() for _ in range(clients)))
    return seen


def soak(server: Process, traffic: Traffic, options: argparse.Namespace) -> dict[str, Any]:
    """Send everything and return what is to be reported."""
    started, seen, rss_bytes = time.perf_counter(), Seen(), list[int]()
    for part in range(PARTS):
        count = options.requests * (part + 1) // PARTS - options.requests * part // PARTS
        work = send(server.address, traffic, count, options.clients, options.seed + part)
        seen.add(asyncio.run(work))
        figures = server.wait_idle()
        rss_bytes.append(server.rss_bytes())
        print(f"{count} requests, {rss_bytes[-1] >> 20} MiB", file=sys.stderr, flush=True)
    text = httpx.get(f"{server.address}/metrics", timeout=TIMEOUT_S).text
    held = {
        name: figures[name]
        for name in (
            "vllm:kv_cache_usage_perc",
            "descant_adapters_used",
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
        )
    }
    return {
        "requests": options.requests,
        "clients": options.clients,
        "time_s": round(time.perf_counter() - started, 1),
        "answers": {" ".join(key): count for key, count in sorted(seen.statuses.items())},
        "wrong": seen.wrong,
        "rss_after_warm_up_bytes": rss_bytes[WARM_PARTS - 1],
        "rss_at_end_bytes": rss_bytes[-1],
        "rss_by_part_bytes": rss_bytes,
        "held_at_end": held,
        "preemptions": figures["vllm:num_preemptions_total"],
        "loop_lag_at_most_s": {f"p{p}": quantile(text, LAG, p / 100) for p in (50, 99)},
        "loop_lag_samples": figures_in(text)[f"{LAG}_count"],
    }


def verdict(result: dict[str, Any], max_growth: float) -> list[str]:
    """Return what is not as it should be; memory may grow by so large a part of itself."""
    problems = []
    if result["wrong"]:
        problems.append(f"{len(result['wrong'])} wrong answers: {result['wrong'][:5]}")
    growth = result["rss_at_end_bytes"] / result["rss_after_warm_up_bytes"] - 1
    if growth > max_growth:
        problems.append(f"Memory grew by {growth:.0%} after the warm-up.")
    if result["exit_code"]:
        problems.append(f"The server ended with {result['exit_code']}.")
    problems += [f"{name} is {value}" for name, value in result["held_at_end"].items() if value]
    return problems


def print_table(result: dict[str, Any]) -> None:
    """Print what was measured."""
    for name, count in result["answers"].items():
        print(f"{name:24} {count:8}")
    mib = [result[f"rss_{when}_bytes"] / 2**20 for when in ("after_warm_up", "at_end")]
    lag = result["loop_lag_at_most_s"]
    print(f"time                     {result['time_s']:8} s")
    print(f"memory                   {mib[0]:8.1f} MiB after the warm-up, {mib[1]:.1f} at the end")
    print(f"event loop late by       at most {lag['p50']} s (p50), {lag['p99']} s (p99)")
    print(f"held at the end          {result['held_at_end']}")


def main() -> None:
    """Serve, send, judge."""
    options = _options()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "served"
        if options.model is None:
            write_served(folder)
            # So little room that adapters and blocks change hands all the time.
            sizes = ("--kv-cache-gib", "0.002", "--adapter-gib", "0.0001")
        else:
            shutil.copytree(options.adapters, folder / "adapters")
            sizes = ("--model", options.model, "--kv-cache-gib", "1")
        with serving(folder, *sizes, "--threads", str(options.threads)) as server:
            result = soak(server, _traffic(server, folder), options)
            result["exit_code"] = server.terminate()
    problems = verdict(result, options.max_growth)
    result = {**describe(), "model": options.model or "tiny random", **result, "problems": problems}
    print_table(result)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    for problem in problems:
        print("PROBLEM:", problem)
    sys.exit(bool(problems))


def _traffic(server: Process, folder: Path) -> Traffic:
    listed = httpx.get(f"{server.address}/v1/adapters", timeout=TIMEOUT_S).json()["data"]
    names = tuple(row["name"] for row in listed)
    asked = {"conversation": {"turns": [{"speaker": "agent", "text": "hello"}]}}
    card = httpx.post(f"{server.address}/v1/scores", json=asked, timeout=TIMEOUT_S).json()
    indicators = tuple(answer["indicator"] for answer in card["answers"])
    return Traffic("tiny", names, folder / "adapters", indicators)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="a model to serve instead of a tiny random one")
    parser.add_argument("--adapters", type=Path, help="its adapters; a copy of them is served")
    parser.add_argument("--threads", type=int, default=1, help="of the server's model")
    parser.add_argument("--max-growth", type=float, default=0.1, help="of memory, as a part of it")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if (options.model is None) != (options.adapters is None):
        parser.error("--model and --adapters go together")
    return options


if __name__ == "__main__":
    main()
