"""How much may be asked twice: without a bound, retries are what keeps a struggling upstream down."""

from __future__ import annotations

from dataclasses import dataclass

from descant.gateway.failures.rolling_count import RollingCount


@dataclass(frozen=True)
class BudgetRules:
    """Extra attempts beside the requests of the same window."""

    share: float = 0.1
    least: int = 10
    """Extra attempts in a window that are allowed however few requests there are."""
    window_s: float = 30.0


class ExtraBudget:
    """Allows extra attempts up to a share of the requests of a sliding window."""

    def __init__(self, rules: BudgetRules):
        self._rules = rules
        self._num_requests = RollingCount(rules.window_s)
        self._num_extra = RollingCount(rules.window_s)

    def note_request(self, now_s: float) -> None:
        """Count one request, at its first attempt."""
        self._num_requests.add(now_s)

    def allows(self, now_s: float) -> bool:
        """Return whether one more extra attempt fits."""
        share = self._rules.share * self._num_requests.total(now_s)
        return self._num_extra.total(now_s) + 1 <= max(self._rules.least, share)

    def take(self, now_s: float) -> bool:
        """Count one extra attempt if it fits; return whether it did."""
        if not self.allows(now_s):
            return False
        self._num_extra.add(now_s)
        return True
