"""Keeps requests away from an upstream that is broken, and finds out when it no longer is."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from descant.gateway.failures.outcome import Outcome
from descant.gateway.failures.rolling_count import RollingCount

_log = logging.getLogger(__name__)

_GOOD = frozenset({Outcome.ANSWERED})
# They say that something answers there, but not whether it can do its work.
_NEITHER = frozenset({Outcome.CALLERS_ERROR, Outcome.THROTTLED})
_DENIED = frozenset({Outcome.KEY_REFUSED, Outcome.FORBIDDEN})


class BreakerState(Enum):
    """Whether requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class BreakerRules:
    """When it opens, and for how long."""

    window_s: float = 30.0
    failure_share: float = 0.5
    """Opens at this share of the window's outcomes …"""
    least_outcomes: int = 20
    """… if there are so many of them."""
    consecutive_failures: int = 5
    """Opens at so many in a row, however few there are."""
    first_pause_s: float = 2.0
    """Doubles with each opening until an answer has come and the window has passed since."""
    longest_pause_s: float = 60.0
    first_denied_pause_s: float = 60.0
    """Where the upstream does not accept the gateway's key: a person has to do something."""
    longest_denied_pause_s: float = 600.0
    jitter_share: float = 0.2
    """Pauses are lengthened at random by up to this share, lest all workers come back at once."""
    most_probes: int = 2
    """Requests under way at once while it is half open."""
    probe_look_s: float = 1.0
    """When to look again while the probes are under way."""


class Breaker:
    """One upstream's: closed, open, half open; only the outcomes of the present era count.

    An era is the time between two changes of state. What began in an earlier one is old news: a
    success from before the opening closes nothing, and a failure from before the closing opens nothing.
    """

    def __init__(self, name: str, rules: BreakerRules, random: Callable[[], float]):
        """`random` gives numbers from 0 to 1."""
        self._name = name
        self._rules = rules
        self._random = random
        self._num_bad = RollingCount(rules.window_s)
        self._num_judged = RollingCount(rules.window_s)
        self._num_bad_in_a_row = 0
        self._era = 0
        self._open_until_s: float | None = None
        self._num_probes = 0
        self._num_openings = 0
        self._closed_at_s = 0.0

    def state(self, now_s: float) -> BreakerState:
        """Return whether requests pass now."""
        if self._open_until_s is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._open_until_s else BreakerState.HALF_OPEN

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a request may pass; 0 if one may now."""
        if self._open_until_s is None:
            return 0.0
        if now_s < self._open_until_s:
            return self._open_until_s - now_s
        return self._rules.probe_look_s if self._num_probes >= self._rules.most_probes else 0.0

    def begin(self) -> int:
        """Note that a request passes; the era returned goes back to `end` or `release`, once."""
        if self._open_until_s is not None:
            self._num_probes += 1
        return self._era

    def release(self, era: int) -> None:
        """Note that a request ended in a way that says nothing of the upstream."""
        if era == self._era and self._open_until_s is not None:
            self._num_probes -= 1

    def end(self, era: int, outcome: Outcome, now_s: float) -> None:
        """Note how a request ended."""
        if era != self._era:
            return
        if self._open_until_s is not None:
            self._end_probe(outcome, now_s)
        elif outcome not in _NEITHER:
            self._judge(outcome, now_s)

    def _end_probe(self, outcome: Outcome, now_s: float) -> None:
        self._num_probes -= 1
        if outcome in _GOOD:
            self._close(now_s)
        elif outcome not in _NEITHER:
            self._open(outcome, now_s)

    def _judge(self, outcome: Outcome, now_s: float) -> None:
        self._num_judged.add(now_s)
        if outcome in _GOOD:
            self._num_bad_in_a_row = 0
            return
        self._num_bad_in_a_row += 1
        self._num_bad.add(now_s)
        if outcome is Outcome.KEY_REFUSED or self._is_broken(now_s):
            self._open(outcome, now_s)

    def _is_broken(self, now_s: float) -> bool:
        if self._num_bad_in_a_row >= self._rules.consecutive_failures:
            return True
        num_judged = self._num_judged.total(now_s)
        if num_judged < self._rules.least_outcomes:
            return False
        return self._num_bad.total(now_s) >= self._rules.failure_share * num_judged

    def _open(self, outcome: Outcome, now_s: float) -> None:
        if self._open_until_s is None and now_s - self._closed_at_s > self._rules.window_s:
            self._num_openings = 0
        pause_s = self._pause_s(outcome)
        self._num_openings += 1
        self._open_until_s = now_s + pause_s
        self._begin_era()
        _log.warning("upstream %s: %s; asked again in %.1f s", self._name, outcome.value, pause_s)

    def _pause_s(self, outcome: Outcome) -> float:
        rules = self._rules
        first_s, longest_s = rules.first_pause_s, rules.longest_pause_s
        if outcome in _DENIED:
            first_s, longest_s = rules.first_denied_pause_s, rules.longest_denied_pause_s
        # Beyond 2^30 any pause is the longest one, and a float would run over in the end.
        pause_s = min(longest_s, math.ldexp(first_s, min(30, self._num_openings)))
        return pause_s * (1 + rules.jitter_share * self._random())

    def _close(self, now_s: float) -> None:
        self._open_until_s = None
        self._closed_at_s = now_s
        self._begin_era()
        _log.info("upstream %s: answers again", self._name)

    def _begin_era(self) -> None:
        self._era += 1
        self._num_probes = 0
        self._num_bad_in_a_row = 0
        self._num_bad.clear()
        self._num_judged.clear()
