"""How much an answer will probably cost: what a model's answers were like, and an upstream's prices."""

from __future__ import annotations

from descant.gateway.call import Call, Usage
from descant.gateway.config import UpstreamConfig

_REMEMBERED = 1024
"""Names of models come from callers: without a bound they would fill the memory."""
_STEP = 0.1
"""What one answer counts among those before it."""


class ExpectedTokens:
    """The mean length of each model's last answers."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def answered(self, model: str, usage: Usage) -> None:
        """Take in what an answer used."""
        before = self._means.pop(model, float(usage.completion_tokens))
        self._means[model] = before + _STEP * (usage.completion_tokens - before)
        if len(self._means) > _REMEMBERED:
            del self._means[next(iter(self._means))]

    def to_write(self, call: Call) -> float:
        """Return the tokens its answer will probably have: before the first one, the most."""
        return min(self._means.get(call.model, call.max_tokens), call.max_tokens)


def expected_cost(
    upstream: UpstreamConfig, call: Call, write_tokens: float, shared: float
) -> float:
    """Return money for a million such calls; `shared` is the part of the prompt read before."""
    cached_price = upstream.read_price if upstream.cached_price is None else upstream.cached_price
    read_price = shared * cached_price + (1 - shared) * upstream.read_price
    return call.prompt_tokens * read_price + write_tokens * upstream.write_price
