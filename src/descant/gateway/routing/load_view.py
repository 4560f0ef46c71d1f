"""What is known of each upstream: what was sent there, what it says of itself, how fast it answers.

A poll says what was true a moment ago, to all who ask. Were it believed alone, everything would go
where it was quiet until the next one. So requests are counted here, exactly and at once, and a poll
adds only what others have there. A poll that fails to come back is no sign of leisure: its figures
fade to "loaded".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import exp

from descant.gateway.call import Call
from descant.gateway.routing.metrics_text import Figures

FRESH_S = 3.0
"""How long figures are believed as they are."""
STALE_S = 10.0
"""When nothing of them is left."""
_FULL_QUEUE = 5.0
_FULL_KV = 0.8
_LATENCY_STEP = 0.2
"""What one first byte counts among those before it."""
_LATENCY_FADE_S = 60.0
"""How long it takes until what was slow is tried again."""


@dataclass(slots=True)
class _Seen:
    """What is known of one upstream."""

    is_polled: bool
    calls: set[str] = field(default_factory=set)
    figures: Figures | None = None
    polled_s: float = 0.0
    others: float = 0.0
    """Requests there that were not sent from here, when it was polled."""
    first_byte_s: float | None = None
    measured_s: float = 0.0


class LoadView:
    """All upstreams as they look from here; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def watch(self, upstream: str, is_polled: bool) -> None:
        """Begin to keep count of an upstream, or go on; `is_polled`: figures of it will come."""
        self._seen.setdefault(upstream, _Seen(is_polled)).is_polled = is_polled

    def keep(self, upstreams: Iterable[str]) -> None:
        """Forget all upstreams but these."""
        self._seen = {name: self._seen[name] for name in upstreams if name in self._seen}

    def sent(self, upstream: str, call: Call) -> None:
        """Count a request as in flight."""
        if upstream in self._seen:
            self._seen[upstream].calls.add(call.id)

    def done(self, upstream: str, call: Call) -> None:
        """Count it no longer, however it ended; saying so twice does no harm."""
        if upstream in self._seen:
            self._seen[upstream].calls.discard(call.id)

    def first_byte(self, upstream: str, latency_s: float) -> None:
        """Take in how long the first byte of an answer took."""
        seen = self._seen.get(upstream)
        if seen is None:
            return
        before_s = latency_s if seen.first_byte_s is None else seen.first_byte_s
        seen.first_byte_s = before_s + _LATENCY_STEP * (latency_s - before_s)
        seen.measured_s = self._clock()

    def take(self, upstream: str, figures: Figures) -> None:
        """Take in what an upstream has just said of itself."""
        seen = self._seen.get(upstream)
        if seen is None:
            return
        seen.figures, seen.polled_s = figures, self._clock()
        seen.others = max(0.0, figures.running + figures.waiting - len(seen.calls))

    def in_flight(self, upstream: str) -> float:
        """Return the requests there, as far as known: those sent from here and those of others."""
        seen = self._seen.get(upstream)
        # Of one that newer settings no longer have, nothing is known.
        return 0.0 if seen is None else len(seen.calls) + seen.others

    def strain(self, upstream: str) -> float:
        """Return how near an engine is to its end, 0 to 1: its queue or its KV cache.

        An upstream that is never polled is not strained; one that should be and is not heard of, is.
        """
        seen = self._seen.get(upstream)
        if seen is None or not seen.is_polled:
            return 0.0
        if seen.figures is None:
            return 1.0
        queue = seen.figures.waiting / _FULL_QUEUE
        strain = min(1.0, max(queue, (seen.figures.kv_use or 0.0) / _FULL_KV))
        age_s = self._clock() - seen.polled_s
        faded = min(1.0, max(0.0, (age_s - FRESH_S) / (STALE_S - FRESH_S)))
        return strain + (1.0 - strain) * faded

    def figures(self, upstream: str) -> Figures | None:
        """Return what an upstream last said of itself, if that is not too long ago."""
        seen = self._seen.get(upstream)
        if seen is None or seen.figures is None or self._clock() - seen.polled_s > STALE_S:
            return None
        return seen.figures

    def latencies_s(self, upstreams: Iterable[str]) -> dict[str, float]:
        """Return what to expect of each first byte; 0 for all where nothing is known.

        An upstream without a figure is taken to be like the others, and one that was not tried for
        long becomes like them.
        """
        names = list(upstreams)
        now_s = self._clock()
        known = {
            name: seen.first_byte_s
            for name in names
            if (seen := self._seen.get(name)) is not None and seen.first_byte_s is not None
        }
        if not known:
            return dict.fromkeys(names, 0.0)
        mean_s = sum(known.values()) / len(known)
        trust = {
            name: exp((self._seen[name].measured_s - now_s) / _LATENCY_FADE_S) for name in known
        }
        return {
            name: mean_s + (known[name] - mean_s) * trust[name] if name in known else mean_s
            for name in names
        }
