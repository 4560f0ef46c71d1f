"""How often would a semantic cache have been wrong? Known before it serves, watched while it does.

Every would-be hit is either *served* or *checked*: asked anyway and compared. While closed, all are
checked. The gate opens when an upper bound of the false-hit rate over the checks of this epoch is at
most a third of `most_rate`. That bound is looked at after every check, so an interval for one look (Wilson,
Clopper-Pearson) would be wrong far more often than it says. This one is a confidence sequence: with
the prior Beta(a, b) the mixture likelihood ratio

    E_n(p) = B(a + k, b + n - k) / B(a, b) / (p^k (1 - p)^(n - k))

of k false among n checks is a martingale of mean 1 under rate p, so by Ville's inequality the chance
that it *ever* passes 1 / alpha is at most alpha (Robbins 1970; Howard et al. 2021). The bound is the
largest p with E_n(p) < 1 / alpha. A third leaves room for chance among what is then served. At 1 % and
95 % the gate opens after 1354 checks without a false one.

While open, would-be hits are still checked at random, with the chance c. For each false one among the
checked ``(1 - c) / c`` false ones were served on average, which tells how many slipped through so far,
and so the *allowance*: how many more could before they were `most_rate` of all that was served. At
first two of three are checked; what is served for each check then grows with the allowance (a tenth
of it), until c is `least_check_share`. The gate closes, and says so, when the bound passes `most_rate`,
or when two of the last ``1 / (2 most_rate)`` checks were false (one, while the allowance is below two):
the bound alone is slow after a long good time. A gate that closes, or stays closed for
``50 / most_rate`` checks, starts a new epoch from nothing; the j-th epoch spends ``alpha 6 / (pi j)^2``,
so that a rate that is too high ever opens the gate with a chance of alpha at most over all epochs.

What it cannot do: the first answers after an opening rest on tomorrow's questions being like those that
were checked, and among fewer than a hundred served answers one false one is more than 1 % whatever was
known. In 300 simulations each, on seeds that no constant here was chosen by, 0 to 1 % of the runs with a
steady rate ended above 1 %, and 2 to 4 % of those whose rate turned bad at some time; where bad times came
again and again (a tenth of the time), 10 % did, though the rate of all runs together was 0.3 %. It is
strict: at a steady 0.1 % a tenth of 5,000 would-be hits is served, at 0.2 % two in a hundred. And the
estimate is the route's: a tenant whose questions are unlike the others' may fare worse than the mean.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

_log = logging.getLogger(__name__)
_FALSE_THAT_CLOSE = 2
_ROOM = 3
_FIRST_UNSEEN = 0.5
# With a smaller allowance one false answer is too many.
_YOUNG = 2
_MARGIN = 10.0
_PRIOR_FALSE = 0.5
_HALVINGS = 40
# Times 1 / most_rate: checks from before that do not count against what is asked now.
_LONGEST_WARM_UP = 50


@dataclass(frozen=True)
class FalseHitConfig:
    """How often a served answer may be another than would have been given."""

    most_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """How often the gate may ever open although the rate is above."""
    least_check_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1


@dataclass(frozen=True, slots=True)
class FalseHitState:
    """Where a gate stands."""

    is_open: bool
    epoch: int
    checks: int
    """Of this epoch."""
    false: int
    """Of these, how many would have been wrong."""
    bound: float
    """The rate is below, as far as these checks can tell."""
    check_share: float
    served: int
    """Since the beginning, over all epochs."""
    reason: str
    """Why it is as it is."""


class FalseHitGate:
    """Decides which would-be hits of one route are served, and learns from the others."""

    def __init__(self, route: str, config: FalseHitConfig, uniform: Callable[[], float]):
        """`uniform` draws from [0, 1); callers must not be able to foresee it."""
        self._route = route
        self._config = config
        self._uniform = uniform
        self._recent: deque[bool] = deque(maxlen=max(2, round(0.5 / config.most_rate)))
        self._served = 0
        self._slipped = 0.0
        self._epoch = 0
        self._start_epoch("not enough checks yet")

    def may_serve(self) -> bool:
        """Decide about one would-be hit: True to serve it, False to ask anyway and `record`."""
        if not self._is_open or self._uniform() < self.check_share:
            return False
        self._served += 1
        return True

    @property
    def check_share(self) -> float:
        """The chance that the next would-be hit is checked."""
        if not self._is_open:
            return 1.0
        share = 1 / (1 + max(_FIRST_UNSEEN, self._allowance / _MARGIN))
        return max(self._config.least_check_share, share)

    def record(self, is_false: bool) -> None:
        """Take the outcome of one check."""
        self._checks += 1
        self._false += is_false
        # As many as this were served, on average, for each false one that was checked.
        self._slipped += is_false * (1 / self.check_share - 1)
        self._recent.append(is_false)
        if self._is_open:
            self._watch()
        elif self._is_below(self._config.most_rate / _ROOM):
            self._open()
        elif self._checks * self._config.most_rate >= _LONGEST_WARM_UP:
            self._start_epoch(f"{self._false} of {self._checks:,} checks were false")

    def state(self) -> FalseHitState:
        """Return where it stands, for people and metrics."""
        return FalseHitState(
            is_open=self._is_open,
            epoch=self._epoch,
            checks=self._checks,
            false=self._false,
            bound=upper_bound(self._checks, self._false, self._alpha, self._config.most_rate),
            check_share=self.check_share,
            served=self._served,
            reason=self._reason,
        )

    @property
    def _allowance(self) -> float:
        """How many more false answers may be served without passing `most_rate` in all."""
        return self._config.most_rate * self._served - self._slipped

    @property
    def _alpha(self) -> float:
        return self._config.alpha * 6 / (math.pi * self._epoch) ** 2

    def _is_below(self, rate: float) -> bool:
        """Whether the bound is at most this rate; the same as asking for the bound, but cheap."""
        if self._false >= rate * self._checks:
            return False
        evidence = log_evidence(self._checks, self._false, rate, self._config.most_rate)
        return evidence >= -math.log(self._alpha)

    def _watch(self) -> None:
        recent = sum(self._recent)
        most = 1 if self._allowance < _YOUNG else _FALSE_THAT_CLOSE
        if not self._is_below(self._config.most_rate):
            self._close(f"the bound over {self._checks:,} checks is above what is allowed")
        elif recent >= most:
            self._close(f"{recent} of the last {len(self._recent)} checks were false")

    def _open(self) -> None:
        self._is_open = True
        self._recent.clear()
        self._reason = f"{self._false} of {self._checks:,} checks were false"
        _log.info("Semantic cache of route %r serves: %s.", self._route, self._reason)

    def _close(self, reason: str) -> None:
        _log.warning("Semantic cache of route %r turned itself off: %s.", self._route, reason)
        self._start_epoch(reason)

    def _start_epoch(self, reason: str) -> None:
        self._is_open = False
        self._epoch += 1
        self._checks = 0
        self._false = 0
        self._recent.clear()
        self._reason = reason


def log_evidence(checks: int, false: int, rate: float, most_rate: float) -> float:
    """Return ln E_n(rate): the evidence of the checks against this rate."""
    a, b = _PRIOR_FALSE, 2 / most_rate
    mixture = _log_beta(a + false, b + checks - false) - _log_beta(a, b)
    return mixture - false * math.log(rate) - (checks - false) * math.log1p(-rate)


def upper_bound(checks: int, false: int, alpha: float, most_rate: float) -> float:
    """Return the largest rate that the checks leave possible, at all looks at once; 1 of none.

    `most_rate` shapes the prior only: the bound is narrowest for rates of its size.
    """
    if false == checks:
        return 1.0
    low, high = false / checks, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if log_evidence(checks, false, middle, most_rate) < -math.log(alpha):
            low = middle
        else:
            high = middle
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
