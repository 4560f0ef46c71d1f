"""Requests and tokens a minute, enforced to the unit, and the headers that say so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.gateway.mock.knobs import Limits
from benchmarks.gateway.mock.window import SlidingWindow


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request does not pass, and when it would; infinity where it never does."""

    kind: str
    wait_s: float


class RateLimits:
    """The upstream's own limits. Times are those of any one clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = SlidingWindow(limits.window_s)
        self.tokens = SlidingWindow(limits.window_s)

    def take(self, now_s: float, tokens: int) -> Refusal | None:
        """Let a request pass and count it, or say why not."""
        waits = [
            Refusal(kind, window.wait_s(now_s, amount, limit))
            for kind, window, amount, limit in (
                ("requests", self.requests, 1, self.limits.requests),
                ("tokens", self.tokens, tokens, self.limits.tokens),
            )
            if limit is not None
        ]
        worst = max(waits, key=lambda refusal: refusal.wait_s, default=None)
        if worst is not None and worst.wait_s > 0:
            return worst
        self.requests.add(now_s, 1)
        self.tokens.add(now_s, tokens)
        return None

    def headers(self, now_s: float) -> list[tuple[str, str]]:
        """Return OpenAI's x-ratelimit headers, true at this moment."""
        rows = (
            ("requests", self.requests, self.limits.requests),
            ("tokens", self.tokens, self.limits.tokens),
        )
        return [
            header
            for kind, window, limit in rows
            if limit is not None
            for header in (
                (f"x-ratelimit-limit-{kind}", str(limit)),
                (f"x-ratelimit-remaining-{kind}", str(limit - window.total(now_s))),
                (f"x-ratelimit-reset-{kind}", duration(window.empty_s(now_s))),
            )
        ]


def retry_headers(wait_s: float, announce_ms: bool) -> list[tuple[str, str]]:
    """Return what tells a caller when to come again, rounded up; nothing where it never may."""
    if math.isinf(wait_s):
        return []
    headers = [("retry-after", str(max(1, math.ceil(wait_s))))]
    if announce_ms:
        headers.append(("retry-after-ms", str(max(1, math.ceil(wait_s * 1000)))))
    return headers


def announced_s(headers: list[tuple[str, str]]) -> float:
    """Return the wait that these headers ask for; the finer one counts, 0 is none."""
    named = dict(headers)
    if "retry-after-ms" in named:
        return int(named["retry-after-ms"]) / 1000
    return float(named.get("retry-after", "0"))


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: 6m0s, 1.5s, 20ms."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
