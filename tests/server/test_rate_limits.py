from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st

from descant.server.keys import Caller
from descant.server.rate_limits import (
    MINUTE_S,
    RateLimit,
    RateLimits,
    Refusal,
    Reservation,
    estimate_tokens,
)

# A sum of seconds in floating point may end a hair beside the whole second.
ROUNDING_S = 1e-6
WAITS_S = st.floats(min_value=0, max_value=90) | st.just(0.0) | st.just(MINUTE_S)


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Ledger:
    """What was let through, written down the slow way."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    def within(self, now_s: float) -> int:
        return sum(amount for at_s, amount in self.taken if now_s < at_s + MINUTE_S)


@given(
    st.integers(1, 5),
    st.integers(1, 50),
    st.lists(st.tuples(WAITS_S, st.integers(0, 60)), max_size=40),
)
def test_no_minute_sees_more_than_the_limits(
    requests: int, tokens: int, steps: list[tuple[float, int]]
) -> None:
    clock, ledger, passed = Clock(), Ledger(), Ledger()
    limits = RateLimits(clock)
    caller = Caller("a", "a", None, requests, tokens)
    for wait_s, asked in steps:
        clock.now_s += wait_s
        fits = passed.within(clock.now_s) < requests
        fits = fits and ledger.within(clock.now_s) + asked <= tokens
        result = limits.admit(caller, asked)
        # Exactly what fits passes: nothing more, and a refusal has cost nothing.
        assert isinstance(result, Reservation) == fits
        if fits:
            passed.taken.append((clock.now_s, 1))
            ledger.taken.append((clock.now_s, asked))
        assert passed.within(clock.now_s) <= requests
        assert ledger.within(clock.now_s) <= tokens


@given(
    st.integers(1, 50),
    st.lists(st.tuples(WAITS_S, st.integers(0, 60), st.integers(0, 120), WAITS_S), max_size=25),
)
def test_what_was_used_counts_and_what_was_not_comes_back(
    tokens: int, steps: list[tuple[float, int, int, float]]
) -> None:
    clock, ledger = Clock(), Ledger()
    limits = RateLimits(clock)
    caller = Caller("a", "a", None, None, tokens)
    for wait_s, asked, used, time_s in steps:
        clock.now_s += wait_s
        began_s = clock.now_s
        fits = ledger.within(began_s) + asked <= tokens
        result = limits.admit(caller, asked)
        assert isinstance(result, Reservation) == fits
        if isinstance(result, Refusal):
            continue
        clock.now_s += time_s
        result.settle(used)
        ledger.taken.append((began_s, min(asked, used)))
        ledger.taken.append((clock.now_s, max(0, used - asked)))


@given(
    st.integers(1, 4),
    st.integers(1, 50),
    st.lists(st.tuples(WAITS_S, st.integers(0, 60)), min_size=1, max_size=30),
)
def test_whoever_comes_back_when_told_to_is_let_in(
    requests: int, tokens: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    limits = RateLimits(clock)
    caller = Caller("a", "a", None, requests, tokens)
    for wait_s, asked in steps:
        clock.now_s += wait_s
        result = limits.admit(caller, asked)
        if isinstance(result, Reservation):
            continue
        assert math.isinf(result.wait_s) == (asked > tokens)
        if not math.isinf(result.wait_s):
            assert 0 < result.wait_s <= MINUTE_S + ROUNDING_S
            clock.now_s += math.ceil(result.wait_s + ROUNDING_S)
            assert isinstance(limits.admit(caller, asked), Reservation)


def test_callers_have_their_own_buckets_and_may_have_no_limit() -> None:
    limits = RateLimits(Clock())
    for name in ("a", "b"):
        assert isinstance(limits.admit(Caller(name, "t", None, 1), 9), Reservation)
        assert isinstance(limits.admit(Caller(name, "t", None, 1), 9), Refusal)
    for _ in range(100):
        assert isinstance(limits.admit(Caller("free", "t"), 10**9), Reservation)
    assert limits.headers(Caller("free", "t")) == {}


def test_a_limit_that_was_changed_counts_at_once() -> None:
    limits = RateLimits(Clock())
    assert isinstance(limits.admit(Caller("a", "a", None, 1), 0), Reservation)
    assert isinstance(limits.admit(Caller("a", "a", None, 1), 0), Refusal)
    assert isinstance(limits.admit(Caller("a", "a", None, 2), 0), Reservation)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b"", 0),
        (b"{", 1),
        (b"[1, 2]", 2),
        (b'{"max_tokens": 100}', 105),
        (b'{"max_completion_tokens": 7, "max_tokens": 100, "n": 2}', 14 + 14),
        (b'{"max_tokens": "many", "n": -3}', 8),
        (b"[" * 100_000, 25_000),
    ],
)
def test_tokens_are_estimated_from_what_is_sent_and_asked_for(body: bytes, tokens: int) -> None:
    assert estimate_tokens(body) == tokens


class Server:
    def __init__(self, **limits: Any):
        self.clock = Clock()
        self.app = FastAPI()

        @self.app.post("/v1/scores")
        async def score(request: Request) -> JSONResponse:
            body = await request.json()
            if "usage" in body:
                request.state.usage = body["usage"]
            return JSONResponse({}, body.get("status", 200))

        @self.app.get("/v1/models")
        async def models() -> str:
            return "open"

        self.app.add_middleware(RateLimit, limits=RateLimits(self.clock))
        self.caller = Caller("a", "a", **limits)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"caller": self.caller}
        await self.app(scope, receive, send)

    def ask(self, path: str = "/v1/scores", **body: Any) -> httpx.Response:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                if path == "/v1/models":
                    return await client.get(path)
                return await client.post(path, content=json.dumps(body))

        return asyncio.run(exchange())


def test_past_the_limit_a_caller_is_told_when_to_come_back() -> None:
    server = Server(requests_per_minute=2)
    first = server.ask()
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "60s"
    assert "x-ratelimit-limit-tokens" not in first.headers
    server.clock.now_s = 19.5
    server.ask()
    refused = server.ask()
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "41"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.json()["error"] == {
        "message": "More than 2 requests a minute. Send it again in 41 s.",
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "param": None,
    }
    assert server.ask("/v1/models").status_code == 200
    server.clock.now_s = 60.5
    assert server.ask().status_code == 200


def test_tokens_are_corrected_when_a_request_is_done() -> None:
    server = Server(tokens_per_minute=1000)

    def left(**body: Any) -> int:
        return 1000 - int(server.ask(**body).headers["x-ratelimit-remaining-tokens"])

    # While it runs, what it may use is set aside; what it used shows from the next request on.
    assert left(max_tokens=500, usage={"tokens_read": 30, "tokens_shared": 900}) > 500
    assert 30 < left() < 50
    server.clock.now_s += MINUTE_S
    assert left(status=400, max_tokens=500) > 500
    assert left(usage={"tokens_read": 2000}) < 50
    refused = server.ask()
    assert refused.status_code == 429
    assert "tokens a minute" in refused.json()["error"]["message"]


def test_a_request_above_the_limit_is_told_that_waiting_does_not_help() -> None:
    server = Server(tokens_per_minute=100)
    refused = server.ask(max_tokens=500)
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert "Make it smaller" in refused.json()["error"]["message"]
    assert refused.headers["x-ratelimit-remaining-tokens"] == "100"
