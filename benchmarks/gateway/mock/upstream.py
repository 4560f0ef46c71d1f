"""One upstream: what it does with a request, without any network."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import orjson
from benchmarks.gateway.mock.answers import Question, answer, events, read_question
from benchmarks.gateway.mock.counts import Counts
from benchmarks.gateway.mock.faults import pick, refusal_headers, spoil
from benchmarks.gateway.mock.knobs import Fault, Knobs, turn
from benchmarks.gateway.mock.latency import delay_s
from benchmarks.gateway.mock.metrics import metrics_text
from benchmarks.gateway.mock.plan import Plan, body_plan, error_plan, json_plan, stream_plan
from benchmarks.gateway.mock.rate_limits import RateLimits, Refusal, announced_s, retry_headers

_SUFFIXES: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/scores": "scores",
}
_REFUSED = "Rate limit reached for {kind}."
_BEFORE = ("error_500", "error_503", "reset_before", "hang", "garbage", "lie_type", "lie_length")
"""Faults that come before anything is read; those of status 429 besides."""


class MockUpstream:
    """Answers, limits, faults and counters of one server."""

    def __init__(self, knobs: Knobs, clock: Callable[[], float]) -> None:
        self.knobs = knobs
        self.counts = Counts()
        self._clock = clock
        self._draw = random.Random(knobs.seed).random
        self._limits = RateLimits(knobs.limits)
        self._turned_s = clock()

    def plan(self, method: str, path: str, raw: bytes) -> Plan:
        """Decide what is written in answer to a request."""
        path = path.partition("?")[0]
        if method == "POST":
            kind = next((k for suffix, k in _SUFFIXES.items() if path.endswith(suffix)), None)
            if kind is not None:
                return self._ask(kind, raw)
        return self._look(method, path, raw)

    def turn(self, changes: Mapping[str, object]) -> None:
        """Turn knobs; limits that are turned begin with an empty window.

        Raises:
            pydantic.ValidationError: a name or value is wrong.
        """
        self.knobs = turn(self.knobs, changes)
        self._turned_s = self._clock()
        if "limits" in changes:
            self._limits = RateLimits(self.knobs.limits)
        if "seed" in changes:
            self._draw = random.Random(self.knobs.seed).random

    def _ask(self, kind: str, raw: bytes) -> Plan:
        now_s = self._clock()
        try:
            question = read_question(kind, raw, self.knobs)
        except ValueError:
            return error_plan(400, "The body is not a JSON object.", "invalid_request_error")
        self.counts.arrive(now_s, question.tokens, self.knobs.limits.grace_s)
        fault = pick(self.knobs, self._draw())
        wait_s = delay_s(self.knobs.latency, self._draw(), now_s - self._turned_s)
        if fault is not None and (fault in _BEFORE or "429" in fault or fault == "lie_limits"):
            plan = self._fail(fault, now_s)
        else:
            plan = self._answer(question, fault, now_s)
        # A refusal goes out at once: from then on its caller can know of it.
        return plan if plan.status == 429 else replace(plan, delay_s=wait_s)

    def _fail(self, fault: Fault, now_s: float) -> Plan:
        self.counts.outcomes[fault] += 1
        self.counts.announce(now_s, announced_s(refusal_headers(fault, self.knobs)))
        return spoil(fault, Plan(()), self.knobs)

    def _answer(self, question: Question, fault: Fault | None, now_s: float) -> Plan:
        refusal = self._limits.take(now_s, question.tokens)
        if refusal is not None:
            return self._refuse(refusal, now_s)
        self.counts.outcomes[fault or "answered"] += 1
        self.counts.answer(now_s, question.prompt_tokens, question.completion_tokens)
        headers = self._limits.headers(now_s)
        if question.is_stream:
            plan = stream_plan(events(question), self.knobs.gap_s, headers)
        else:
            plan = json_plan(answer(question), headers=headers)
        return plan if fault is None else spoil(fault, plan, self.knobs)

    def _refuse(self, refusal: Refusal, now_s: float) -> Plan:
        self.counts.outcomes[f"limit_{refusal.kind}"] += 1
        told = retry_headers(refusal.wait_s, self.knobs.limits.announce_ms)
        self.counts.announce(now_s, announced_s(told))
        headers = [*self._limits.headers(now_s), *told]
        message = _REFUSED.format(kind=refusal.kind)
        return error_plan(429, message, "rate_limit_exceeded", headers)

    def _look(self, method: str, path: str, raw: bytes) -> Plan:
        if path == "/admin/knobs" and method == "POST":
            return self._turned(raw)
        if path == "/admin/reset" and method == "POST":
            self.counts = Counts(running=self.counts.running)
            self._limits = RateLimits(self.knobs.limits)
            return json_plan({})
        if method == "GET":
            return self._shown(path)
        return error_plan(404, "There is nothing here.", "not_found")

    def _shown(self, path: str) -> Plan:
        if path == "/metrics":
            return body_plan(metrics_text(self.counts, self.knobs), "text/plain; version=0.0.4")
        if path == "/admin/state":
            return json_plan(self.counts.to_json(self._clock()))
        if path == "/admin/knobs":
            return json_plan(asdict(self.knobs))
        if path == "/health":
            return json_plan({"status": "ok"})
        if path.endswith("/models"):
            hashes = self.knobs.content_hashes
            data = [
                {"id": name, "object": "model", "content_hash": hashes.get(name)}
                for name in dict.fromkeys((*self.knobs.models, *hashes))
            ]
            return json_plan({"object": "list", "data": data})
        return error_plan(404, "There is nothing here.", "not_found")

    def _turned(self, raw: bytes) -> Plan:
        try:
            self.turn(orjson.loads(raw))
        except ValueError as error:
            return error_plan(400, str(error), "invalid_request_error")
        return json_plan(asdict(self.knobs))
