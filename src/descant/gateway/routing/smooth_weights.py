"""Turns in proportion to weights, evenly mixed; each model has turns of its own."""

from __future__ import annotations

from collections.abc import Mapping

_REMEMBERED = 1024
"""Names of models come from callers: without a bound they would fill the memory."""


class SmoothWeights:
    """Smooth weighted round robin: of three turns at weights 2 and 1, the middle one is the second's.

    After any number of turns, none has had a whole turn more than its share. The turns of one model do not depend on
    what is asked of others: a counter for all would give every second model always the same upstream.
    """

    def __init__(self) -> None:
        self._credits: dict[str, dict[str, float]] = {}

    def order(self, model: str, weights: Mapping[str, float]) -> list[str]:
        """Return who takes this turn, then those to be asked in its place."""
        credits = self._credits_of(model)
        for name, weight in weights.items():
            credits[name] = credits.get(name, 0.0) + weight
        order = sorted(weights, key=lambda name: -credits[name])
        credits[order[0]] -= sum(weights.values())
        return order

    def _credits_of(self, model: str) -> dict[str, float]:
        if model not in self._credits and len(self._credits) >= _REMEMBERED:
            del self._credits[next(iter(self._credits))]
        return self._credits.setdefault(model, {})
