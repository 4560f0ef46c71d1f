"""How much a caller may ask for in a minute: requests and tokens.

A bucket for each, and what is taken from it comes back exactly one minute later. So no 60 seconds see
more than the limit, wherever they begin; a bucket that refills steadily would let nearly twice the
limit through in its first minute.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from descant.server.errors import refuse
from descant.server.keys import Caller

MINUTE_S = 60.0

_LIMITED_PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/scores"}
)
_BYTES_PER_TOKEN = 4


@dataclass
class Taken:
    """Some of a bucket's content, until it comes back."""

    until_s: float
    amount: int


class Bucket:
    """Holds what may be taken in a minute; the limit may differ from call to call."""

    def __init__(self) -> None:
        self._taken: deque[Taken] = deque()
        self._sum = 0

    def left(self, limit: int, now_s: float) -> int:
        """Return how much may be taken now; below 0 when more was used than was reserved."""
        while self._taken and self._taken[0].until_s <= now_s:
            self._sum -= self._taken.popleft().amount
        return limit - self._sum

    def wait_s(self, amount: int, limit: int, now_s: float) -> float:
        """Return how long until that amount may be taken: 0 now, infinite never."""
        missing = amount - self.left(limit, now_s)
        if missing <= 0:
            return 0.0
        for taken in self._taken:
            missing -= taken.amount
            if missing <= 0:
                return taken.until_s - now_s
        return math.inf

    def take(self, amount: int, now_s: float) -> Taken:
        """Take without asking."""
        taken = Taken(now_s + MINUTE_S, amount)
        self._taken.append(taken)
        self._sum += amount
        return taken

    def settle(self, taken: Taken, used: int, now_s: float) -> None:
        """Put back what was taken and not used, or take now what was used beyond it."""
        if used > taken.amount:
            self.take(used - taken.amount, now_s)
        elif taken.until_s > now_s:
            self._sum -= taken.amount - used
            taken.amount = used


@dataclass(frozen=True)
class Refusal:
    """Why a request may not pass, and after how long it may; infinite: never as it is."""

    kind: str
    limit: int
    asked: int
    wait_s: float


@dataclass
class _Account:
    requests: Bucket = field(default_factory=Bucket)
    tokens: Bucket = field(default_factory=Bucket)


@dataclass(frozen=True)
class Reservation:
    """A request that may pass, and the tokens set aside for it."""

    _bucket: Bucket
    _taken: Taken
    _clock: Callable[[], float]

    def settle(self, used_tokens: int) -> None:
        """Correct what was set aside; to be called once, when the request is done."""
        self._bucket.settle(self._taken, used_tokens, self._clock())


class RateLimits:
    """What every caller has asked for in the last minute; for one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def admit(self, caller: Caller, tokens: int) -> Reservation | Refusal:
        """Take one request and its estimated tokens, or nothing at all."""
        now_s, account = self._clock(), self._account(caller)
        refusals = [
            Refusal(kind, limit, amount, wait_s)
            for kind, bucket, limit, amount in (
                ("requests", account.requests, caller.requests_per_minute, 1),
                ("tokens", account.tokens, caller.tokens_per_minute, tokens),
            )
            if limit is not None and (wait_s := bucket.wait_s(amount, limit, now_s)) > 0
        ]
        if refusals:
            return max(refusals, key=lambda refusal: refusal.wait_s)
        account.requests.take(1, now_s)
        return Reservation(account.tokens, account.tokens.take(tokens, now_s), self._clock)

    def headers(self, caller: Caller) -> dict[str, str]:
        """Return OpenAI's ``x-ratelimit-*`` headers for the limits this caller has."""
        now_s, account = self._clock(), self._account(caller)
        headers: dict[str, str] = {}
        for kind, bucket, limit in (
            ("requests", account.requests, caller.requests_per_minute),
            ("tokens", account.tokens, caller.tokens_per_minute),
        ):
            if limit is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, bucket.left(limit, now_s)))
                reset_s = bucket.wait_s(limit, limit, now_s)
                headers[f"x-ratelimit-reset-{kind}"] = f"{round(reset_s, 3):g}s"
        return headers

    def _account(self, caller: Caller) -> _Account:
        return self._accounts.setdefault(caller.name, _Account())


def estimate_tokens(body: bytes) -> int:
    """Return about how many tokens a request needs: those it sends and those it lets be written."""
    sent = math.ceil(len(body) / _BYTES_PER_TOKEN)
    try:
        table = json.loads(body)
    except (ValueError, RecursionError):
        # It will be refused for that, and then nothing is charged.
        return sent
    if not isinstance(table, dict):
        return sent
    most = _count(table.get("max_completion_tokens")) or _count(table.get("max_tokens"))
    return sent + most * max(1, _count(table.get("n")))


class RateLimit:
    """Wraps an app behind `KeyCheck`: a caller past a limit is refused and told when to come back.

    Tokens are corrected by ``state.usage`` of the request: all its counts but the shared tokens,
    which cost nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: RateLimits,
        paths: frozenset[str] = _LIMITED_PATHS,
        estimate: Callable[[bytes], int] = estimate_tokens,
    ):
        self._app = app
        self._limits = limits
        self._paths = paths
        self._estimate = estimate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other scopes and other paths pass through."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        caller: Caller = scope["state"]["caller"]
        if caller.requests_per_minute is None and caller.tokens_per_minute is None:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, caller, self._limits)
        passed = self._limits.admit(caller, await exchange.estimate(self._estimate))
        if isinstance(passed, Refusal):
            await _answer(passed, scope)(scope, receive, exchange.send)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            used = exchange.used_tokens()
            if used is not None:
                passed.settle(used)


@dataclass
class _Exchange:
    """One request and its response on the way through."""

    scope: Scope
    _receive: Receive
    _send: Send
    _caller: Caller
    _limits: RateLimits
    _first: Message | None = None
    _status: int | None = None

    async def estimate(self, estimate: Callable[[bytes], int]) -> int:
        # `RequestContext` has read the body: the first message is the whole of it.
        self._first = await self._receive()
        return estimate(self._first.get("body", b""))

    async def receive(self) -> Message:
        first, self._first = self._first, None
        return await self._receive() if first is None else first

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message).update(self._limits.headers(self._caller))
        await self._send(message)

    def used_tokens(self) -> int | None:
        """Return what the request used, or None when nobody knows."""
        usage: Mapping[str, int] | None = self.scope["state"].get("usage")
        if usage is not None:
            return sum(count for name, count in usage.items() if name != "tokens_shared")
        return 0 if self._status is not None and self._status >= 400 else None


def _answer(refusal: Refusal, scope: Scope) -> ASGIApp:
    message = f"More than {refusal.limit} {refusal.kind} a minute"
    headers: dict[str, str] = {}
    if math.isinf(refusal.wait_s):
        message = f"{message}: this request alone needs about {refusal.asked}. Make it smaller."
    else:
        wait_s = math.ceil(refusal.wait_s)
        message = f"{message}. Send it again in {wait_s} s."
        headers["retry-after"] = str(wait_s)
    return refuse(Request(scope), 429, message, "rate_limit_exceeded", headers=headers)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
