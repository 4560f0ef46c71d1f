"""What a load felt like."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.gateway.load.connection import Answer

_SHARES = (0.5, 0.9, 0.99, 0.999)


def _seconds() -> array[float]:
    return array("d")


@dataclass
class Measured:
    """Samples of all requests of a run, in seconds; latencies count from when each was due."""

    elapsed_s: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    """Answers by status, and failures by what failed."""
    total_s: array[float] = field(default_factory=_seconds)
    first_s: array[float] = field(default_factory=_seconds)
    gaps_s: array[float] = field(default_factory=_seconds)
    late_s: array[float] = field(default_factory=_seconds)
    """How long after it was due each request was sent: the client's own part."""
    pieces: Counter[int] = field(default_factory=Counter)
    """Streams by how many pieces of text they had."""

    def note(self, due_s: float, answer: Answer) -> None:
        """Take in one answer."""
        self.kinds[answer.kind] += 1
        if not answer.is_good:
            return
        self.total_s.append(answer.ended_s - due_s)
        self.late_s.append(answer.sent_s - due_s)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            self._note_stream(due_s, answer)

    def merge(self, other: Measured) -> None:
        """Take in what another process measured at the same time."""
        self.elapsed_s = max(self.elapsed_s, other.elapsed_s)
        self.kinds.update(other.kinds)
        self.pieces.update(other.pieces)
        for name in ("total_s", "first_s", "gaps_s", "late_s"):
            getattr(self, name).extend(getattr(other, name))

    @property
    def good(self) -> int:
        """Answers of status 200 that were whole."""
        return len(self.total_s)

    @property
    def bad(self) -> int:
        """All others."""
        return self.kinds.total() - self.good

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.elapsed_s if self.elapsed_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return counts, percentiles and a histogram of the latencies."""
        series = {"total_s": self.total_s, "first_s": self.first_s, "gaps_s": self.gaps_s}
        return {
            "requests": self.kinds.total(),
            "good": self.good,
            "rate": round(self.rate, 1),
            "kinds": dict(self.kinds),
            "pieces": {str(count): streams for count, streams in sorted(self.pieces.items())},
            "late_p99_s": _rounded(percentile(self.late_s, 0.99)),
            **{name: _percentiles(samples) for name, samples in series.items() if samples},
            "histogram_s": histogram(self.total_s),
        }

    def _note_stream(self, due_s: float, answer: Answer) -> None:
        self.pieces[len(answer.pieces_s)] += 1
        if answer.pieces_s:
            self.first_s.append(answer.pieces_s[0] - due_s)
        self.gaps_s.extend(after - before for before, after in pairwise(answer.pieces_s))


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least this share is at or below; nan of none."""
    if not samples:
        return math.nan
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def histogram(samples: Sequence[float]) -> dict[str, int]:
    """Return counts by upper bound, twelve bounds to a factor of ten."""
    steps = Counter(math.ceil(12 * math.log10(max(sample, 1e-6))) for sample in samples)
    return {f"{10 ** (step / 12):.3g}": steps[step] for step in sorted(steps)}


def _percentiles(samples: Sequence[float]) -> dict[str, float]:
    found = {f"p{share * 100:g}": _rounded(percentile(samples, share)) for share in _SHARES}
    return {**found, "max": _rounded(max(samples)), "mean": _rounded(sum(samples) / len(samples))}


def _rounded(value: float) -> float:
    return round(value, 6)
