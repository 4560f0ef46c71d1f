"""How small `max_tokens` may be: tokens set aside and not used are room that nobody else has."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from descant.gateway.economy.length_sketch import LengthSketch

LEAST_ANSWERS = 1000
"""Of fewer, the longest half per cent would be a handful."""
_SHARE = 0.995
_MARGIN = 1.25
_MOST_CUT_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class MaxTokensAdvice:
    """What the lengths of a route's answers say about its `max_tokens`."""

    tokens: int | None
    """The 99.5th percentile and a quarter more; None where nothing can be said."""
    reason: str
    answers: int
    cut: int
    """Of these, how many ended at the most they were allowed."""
    median_tokens: float
    p995_tokens: float
    mean_allowed_tokens: float


class AnswerLengths:
    """The lengths of a route's answers, and what was allowed."""

    def __init__(self) -> None:
        self._lengths = LengthSketch()
        self._allowed_tokens = 0
        self._cut = 0

    def add(self, num_tokens: int, most_tokens: int) -> None:
        """Count the answer to a request of one choice."""
        self._lengths.add(num_tokens)
        self._allowed_tokens += most_tokens
        self._cut += num_tokens >= most_tokens

    def advice(self) -> MaxTokensAdvice | None:
        """Return what to set `max_tokens` to; None before the first answer."""
        count = self._lengths.count
        median, longest = self._lengths.quantile(0.5), self._lengths.quantile(_SHARE)
        if median is None or longest is None:
            return None
        tokens, reason = self._judge(longest)
        mean = self._allowed_tokens / count
        return MaxTokensAdvice(tokens, reason, count, self._cut, median, longest, mean)

    def _judge(self, longest: float) -> tuple[int | None, str]:
        count = self._lengths.count
        if count < LEAST_ANSWERS:
            return None, f"{count:,} answers are too few; {LEAST_ANSWERS:,} are needed"
        if self._cut > _MOST_CUT_SHARE * count:
            return None, f"{self._cut:,} answers were cut off: how long they would be is not known"
        return ceil(longest * _MARGIN), f"99.5 % of {count:,} answers, and a quarter more"
