"""Whether an upstream can be asked now, and if not, when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from descant.gateway.failures.breaker import Breaker, BreakerRules
from descant.gateway.failures.cooldown import Cooldowns, throttled_wait_s
from descant.gateway.failures.learned_limits import LearnedLimits, Marks
from descant.gateway.failures.outcome import Outcome, Reply
from descant.gateway.failures.stated_wait import stated_wait_s


@dataclass(frozen=True, slots=True)
class Admitted:
    """A permit for one attempt; goes back to `note` or `release`, once."""

    model: str
    tokens: int
    marks: Marks
    era: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Not now."""

    wait_s: float
    is_throttled: bool
    """By what the upstream said of its limits; else it is broken."""


class UpstreamHealth:
    """What one upstream said and did: its cooldowns, learned limits and breaker together."""

    def __init__(
        self,
        name: str,
        random: Callable[[], float],
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        breaker_rules: BreakerRules | None = None,
    ):
        """`random` gives numbers from 0 to 1; `utc_now` is asked for headers that hold dates."""
        self.name = name
        self.limits = LearnedLimits()
        self.breaker = Breaker(name, breaker_rules or BreakerRules(), random)
        self._cooldowns = Cooldowns()
        self._utc_now = utc_now

    def refusal(self, model: str, tokens: int, now_s: float) -> Refused | None:
        """Return why and for how long such a request is not admitted; None if it is."""
        throttled_s = self.limits.wait_s(model, tokens, now_s)
        throttled_s = max(throttled_s, self._cooldowns.model_wait_s(model, now_s))
        broken_s = max(self.breaker.wait_s(now_s), self._cooldowns.all_wait_s(now_s))
        wait_s = max(throttled_s, broken_s)
        return Refused(wait_s, is_throttled=throttled_s > broken_s) if wait_s > 0 else None

    def cooldown_s(self, now_s: float) -> float:
        """Return what is left of the upstream's longest cooldown; 0 is none."""
        return self._cooldowns.longest_s(now_s)

    def admits(self, model: str, tokens: int, now_s: float) -> Admitted | Refused:
        """Return a permit for one attempt, and set its share aside, or when to ask again.

        `model` is the name it has there; `tokens` the most it may use.
        """
        if (refused := self.refusal(model, tokens, now_s)) is not None:
            return refused
        marks = self.limits.send(model, tokens, now_s)
        return Admitted(model, tokens, marks, self.breaker.begin())

    def release(self, permit: Admitted) -> None:
        """Take back a permit whose attempt says nothing of the upstream, or was never made."""
        self.breaker.release(permit.era)

    def note(self, permit: Admitted, reply: Reply, now_s: float) -> None:
        """Take back a permit, and learn from what became of its attempt."""
        self.breaker.end(permit.era, reply.outcome, now_s)
        if reply.status is None:
            return
        now_utc = self._utc_now()
        self.limits.learn(permit.model, reply.headers, permit.marks, now_s, now_utc)
        if reply.outcome is Outcome.THROTTLED:
            wait_s = throttled_wait_s(reply.status, reply.headers, now_utc)
            self._cooldowns.refuse_model(permit.model, wait_s, now_s)
        elif reply.outcome is not Outcome.CALLERS_ERROR:
            self._note_stated_wait(reply.status, reply, now_s, now_utc)

    def _note_stated_wait(self, status: int, reply: Reply, now_s: float, now_utc: datetime) -> None:
        wait_s = stated_wait_s(status, reply.headers, now_utc)
        if wait_s is not None:
            self._cooldowns.refuse_all(wait_s, now_s)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One upstream that could answer a request, and what the model is called there."""

    health: UpstreamHealth
    model: str


def earliest_return_s(candidates: Iterable[Candidate], tokens: int, now_s: float) -> float | None:
    """Return when the first of them admits again: 0 if one does now, None if there are none."""
    waits_s = []
    for candidate in candidates:
        refused = candidate.health.refusal(candidate.model, tokens, now_s)
        waits_s.append(0.0 if refused is None else refused.wait_s)
    return min(waits_s, default=None)


def retry_headers(wait_s: float) -> dict[str, str]:
    """Return the headers that say so, rounded up: to whole seconds, at least one, and to milliseconds."""
    return {
        "retry-after": str(max(1, math.ceil(wait_s))),
        "retry-after-ms": str(max(1, math.ceil(wait_s * 1000))),
    }
