"""What an upstream has seen."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gateway.mock.window import SlidingWindow

MINUTE_S = 60.0


@dataclass
class Counts:
    """Counters since the start, or since they were set back."""

    requests: int = 0
    """Calls to anything under /v1 that is asked by POST."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """"answered", "limit_requests", "limit_tokens", or a fault's name."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    running: int = 0
    most_running: int = 0
    left: int = 0
    """Callers who closed the connection before their answer was whole."""
    violations: int = 0
    """Calls inside a Retry-After window that had been announced to anybody."""
    on_their_way: int = 0
    """Of calls inside such a window, those within the grace time, not among the violations."""
    passed: SlidingWindow = field(default_factory=lambda: SlidingWindow(MINUTE_S))
    offered: SlidingWindow = field(default_factory=lambda: SlidingWindow(MINUTE_S))
    _announced_s: float = -math.inf
    _closed_until_s: float = -math.inf

    def announce(self, now_s: float, wait_s: float) -> None:
        """Remember that callers were told to stay away for so long."""
        if wait_s <= 0:
            return
        if now_s >= self._closed_until_s:
            self._announced_s = now_s
        self._closed_until_s = max(self._closed_until_s, now_s + wait_s)

    def arrive(self, now_s: float, tokens: int, grace_s: float) -> None:
        """Count a call that came."""
        self.requests += 1
        self.offered.add(now_s, tokens)
        if now_s >= self._closed_until_s:
            return
        if now_s - self._announced_s <= grace_s:
            self.on_their_way += 1
        else:
            self.violations += 1

    def answer(self, now_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Count tokens that passed."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.passed.add(now_s, prompt_tokens + completion_tokens)

    def begin(self) -> None:
        """Count a request that is being answered."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)

    def end(self, was_left: bool) -> None:
        """Count it out again."""
        self.running -= 1
        self.left += was_left

    def to_json(self, now_s: float) -> dict[str, Any]:
        """Return all of it for ``/admin/state``."""
        return {
            "requests": self.requests,
            "outcomes": dict(self.outcomes),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens": self.prompt_tokens + self.completion_tokens,
            "running": self.running,
            "most_running": self.most_running,
            "left": self.left,
            "violations": self.violations,
            "on_their_way": self.on_their_way,
            "tokens_last_60_s": self.passed.total(now_s),
            "most_tokens_60_s": self.passed.most,
            "most_offered_tokens_60_s": self.offered.most,
        }
