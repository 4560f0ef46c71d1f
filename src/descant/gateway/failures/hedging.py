"""When to ask a second upstream while the first one is silent."""

from __future__ import annotations

from dataclasses import dataclass

from descant.gateway.failures.first_byte_times import FirstByteTimes
from descant.gateway.failures.retry_budget import BudgetRules, ExtraBudget


@dataclass(frozen=True)
class HedgeRules:
    """Of one route; a share of 0 hedges nothing."""

    share: float = 0.0
    """Second attempts, as a share of the route's requests."""
    quantile: float = 0.95
    least_wait_s: float = 0.1
    """No first byte is late before."""
    least_times: int = 50
    """So many first bytes must have been seen before any is called late."""
    window_s: float = 30.0
    """Of the budget."""


class Hedging:
    """One route's first-byte times and its budget of second attempts."""

    def __init__(self, rules: HedgeRules):
        self._rules = rules
        self._times = FirstByteTimes()
        self._budget = ExtraBudget(BudgetRules(rules.share, least=0, window_s=rules.window_s))
        self._num_until_look = 0
        self._late_after_s: float | None = None

    def begin(self, now_s: float) -> Hedge:
        """Note that a request of the route is sent to its first upstream."""
        self._budget.note_request(now_s)
        return Hedge(self, now_s)

    def late_after_s(self) -> float | None:
        """Return how long a first byte may take; None if none is asked for twice."""
        return self._late_after_s

    def note_first_byte(self, time_s: float) -> None:
        """Count how long one took, or for how long one was waited for in vain."""
        if self._rules.share <= 0:
            return
        self._times.add(time_s)
        self._num_until_look -= 1
        if self._num_until_look <= 0 and len(self._times) >= self._rules.least_times:
            # The quantile moves slowly, and finding it costs a walk over all bins.
            self._num_until_look = 16
            late_s = self._times.quantile_s(self._rules.quantile)
            self._late_after_s = late_s and max(self._rules.least_wait_s, late_s)

    def allows(self, now_s: float) -> bool:
        """Return whether the budget has room for a second attempt."""
        return self._budget.allows(now_s)

    def take(self, now_s: float) -> bool:
        """Count a second attempt if the budget has room for it."""
        return self._budget.take(now_s)


class Hedge:
    """One request's: asked twice at most once, and never after its first byte."""

    def __init__(self, hedging: Hedging, begun_s: float):
        self._hedging = hedging
        self._begun_s = begun_s
        self._is_over = False
        late_s = hedging.late_after_s()
        self.due_s = None if late_s is None else begun_s + late_s
        """When to ask a second upstream; None if never."""

    def is_due(self, now_s: float) -> bool:
        """Return whether a second upstream may be asked now."""
        if self._is_over or self.due_s is None or now_s < self.due_s:
            return False
        return self._hedging.allows(now_s)

    def take(self, now_s: float) -> bool:
        """Note that a second upstream is asked now; return whether it may be."""
        if not self.is_due(now_s) or not self._hedging.take(now_s):
            return False
        self._is_over = True
        return True

    def first_byte(self, now_s: float) -> None:
        """Note the first byte of the first upstream, or that it was given up."""
        self._is_over = True
        self._hedging.note_first_byte(now_s - self._begun_s)
