"""What upstreams say is left of their limits, which may be less than what was configured.

Both OpenAI and Anthropic document limits that fill up steadily, with the reset as the moment at which
all is there again. So between two statements what is left grows at (limit - remaining) / reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from descant.gateway.failures.stated_limits import StatedLimit, requests_limit, tokens_limit

_MOST_MODELS = 1000
_LEAST_BELIEVED_S = 60.0
_LONGEST_BELIEVED_S = 600.0


class LearnedLimit:
    """One limit as last stated, less what was sent since; forgotten when it is no longer stated."""

    def __init__(self) -> None:
        self.num_sent = 0
        """All that was ever sent; the value after sending a request marks its place in the order."""
        self._limit: int | None = None
        self._left: float | None = None
        self._left_at_s = 0.0
        self._growth_per_s = 0.0
        self._believed_until_s = 0.0
        self._stated_at_mark = 0

    def limit(self, now_s: float) -> int | None:
        """Return the whole limit; None if none is known."""
        return self._limit if now_s < self._believed_until_s else None

    def wait_s(self, amount: int, now_s: float) -> float:
        """Return the seconds until `amount` fits; 0 if it does now or nothing is known."""
        left = self._left_now(now_s)
        if left is None or amount <= left:
            return 0.0
        forgotten_s = self._believed_until_s - now_s
        if self._growth_per_s <= 0 or (self._limit is not None and amount > self._limit):
            return forgotten_s
        return min(forgotten_s, (amount - left) / self._growth_per_s)

    def send(self, amount: int, now_s: float) -> int:
        """Take `amount`; the mark returned goes back to `learn` with the answer."""
        self.num_sent += amount
        left = self._left_now(now_s)
        self._left = None if left is None else left - amount
        self._left_at_s = now_s
        return self.num_sent

    def learn(self, stated: StatedLimit, mark: int, now_s: float) -> None:
        """Believe what an answer says, less what was sent after its request."""
        if mark < self._stated_at_mark and now_s < self._believed_until_s:
            return
        self._stated_at_mark = mark
        self._limit = stated.limit or self.limit(now_s)
        self._growth_per_s = self._growth(stated)
        believed_s = min(stated.reset_s or 0.0, _LONGEST_BELIEVED_S)
        self._believed_until_s = now_s + max(believed_s, _LEAST_BELIEVED_S)
        remaining = self._limit if stated.remaining is None else stated.remaining
        since = max(0, self.num_sent - mark)
        self._left = None if remaining is None else float(remaining - since)
        self._left_at_s = now_s

    def _growth(self, stated: StatedLimit) -> float:
        if self._limit is None or stated.remaining is None or not stated.reset_s:
            return self._growth_per_s
        return max(0.0, self._limit - stated.remaining) / stated.reset_s

    def _left_now(self, now_s: float) -> float | None:
        if self._left is None or now_s >= self._believed_until_s:
            return None
        grown = self._left + self._growth_per_s * max(0.0, now_s - self._left_at_s)
        return grown if self._limit is None else min(grown, self._limit)


@dataclass(frozen=True, slots=True)
class Marks:
    """A request's place in the order of what was sent."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Pair:
    requests: LearnedLimit
    tokens: LearnedLimit


class LearnedLimits:
    """An upstream's limits of requests and tokens, for each model on it."""

    def __init__(self) -> None:
        self._models: dict[str, _Pair] = {}

    def wait_s(self, model: str, tokens: int, now_s: float) -> float:
        """Return the seconds until a request fits by what the upstream said; 0 if it does now."""
        if (pair := self._models.get(model)) is None:
            return 0.0
        return max(pair.requests.wait_s(1, now_s), pair.tokens.wait_s(tokens, now_s))

    def send(self, model: str, tokens: int, now_s: float) -> Marks:
        """Take one request's share of what is left."""
        pair = self._pair(model)
        return Marks(pair.requests.send(1, now_s), pair.tokens.send(tokens, now_s))

    def learn(
        self, model: str, headers: Mapping[str, str], marks: Marks, now_s: float, now_utc: datetime
    ) -> None:
        """Believe the headers of the answer to the request with these marks."""
        pair = self._pair(model)
        if (requests := requests_limit(headers, now_utc)) is not None:
            pair.requests.learn(requests, marks.requests, now_s)
        if (tokens := tokens_limit(headers, now_utc)) is not None:
            pair.tokens.learn(tokens, marks.tokens, now_s)

    def requests(self, model: str, configured: int | None, now_s: float) -> int | None:
        """Return the limit of requests that holds: the lower of configured and learned."""
        pair = self._models.get(model)
        return _lower(configured, None if pair is None else pair.requests.limit(now_s))

    def tokens(self, model: str, configured: int | None, now_s: float) -> int | None:
        """Return the limit of tokens that holds: the lower of configured and learned."""
        pair = self._models.get(model)
        return _lower(configured, None if pair is None else pair.tokens.limit(now_s))

    def stated(self, now_s: float) -> dict[str, dict[str, int]]:
        """Return the limits a minute that the upstream stated and that are still believed, by model."""
        believed = {
            model: {"requests": pair.requests.limit(now_s), "tokens": pair.tokens.limit(now_s)}
            for model, pair in self._models.items()
        }
        told = {
            model: {kind: limit for kind, limit in limits.items() if limit is not None}
            for model, limits in believed.items()
        }
        return {model: limits for model, limits in told.items() if limits}

    def _pair(self, model: str) -> _Pair:
        if (pair := self._models.get(model)) is not None:
            return pair
        if len(self._models) >= _MOST_MODELS:
            # Names come from callers. What is forgotten too early, the next answer says again.
            del self._models[next(iter(self._models))]
        return self._models.setdefault(model, _Pair(LearnedLimit(), LearnedLimit()))


def _lower(configured: int | None, learned: int | None) -> int | None:
    known = [limit for limit in (configured, learned) if limit is not None]
    return min(known, default=None)
