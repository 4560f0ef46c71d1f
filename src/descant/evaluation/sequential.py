"""May a canary go on? Tests that may be looked at again and again.

An interval for one look is wrong more and more often when it is looked at again. The bounds here hold
at all looks at once (`SequentialMean`), or at looks that were planned (`spending_boundaries`).

Key: ``P`` positions in [0, 1] at which observations are counted, ``D`` stakes, ``L`` looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from descant.evaluation.statistics import FloatArray
from descant.schema.errors import InvalidConfig, InvalidData

CanaryOutcome = Literal["stop", "safe", "watch"]
SpendingShape = Literal["obrien_fleming", "pocock"]

# Even, so that a tie of paired differences has a position of its own.
_CELLS = 64
_NEAR_ZERO = 1e-12
# Beyond it a boundary spends 6e-16; the programs of Reboussin et al. stop there too.
_MOST_Z = 8.0
_NODES_PER_STEP = 5
_LEAST_NODES = 64
_LEAST_GAP = 1e-3


@dataclass(frozen=True)
class SequentialConfig:
    """What is observed, and how sure is sure.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    alpha: float = 0.05
    """How often the mean may ever, at any look, lie outside; half of it on each side."""
    least: float = 0.0
    """No observation is below: 0 for a share, -1 for paired differences of right and wrong."""
    most: float = 1.0
    """No observation is above."""
    stakes: int = 20
    """How many stakes the capital is spread over, from `smallest_stake` to 0.95."""
    smallest_stake: float = 1e-4
    """The smaller, the narrower the interval can get in a very long run."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidConfig("alpha must lie between 0 and 1.", field="alpha")
        if not -math.inf < self.least < self.most < math.inf:
            raise InvalidConfig("least must be below most, both finite.", field="least")
        if self.stakes < 1:
            raise InvalidConfig("stakes must be at least 1.", field="stakes")
        if not 0 < self.smallest_stake < 0.95:
            message = "smallest_stake must lie between 0 and 0.95."
            raise InvalidConfig(message, field="smallest_stake")

    @cached_property
    def shares(self) -> FloatArray:
        """The stakes as shares of the capital, ``[D]``."""
        return np.geomspace(0.95, self.smallest_stake, self.stakes)


@dataclass(frozen=True)
class SequentialEstimate:
    """A mean so far, and between which bounds the true one lies at every look at once."""

    count: int
    value: float | None
    """The mean of what was observed; None of nothing."""
    low: float
    """Ever above the true mean with a chance of alpha / 2 at most."""
    high: float
    """Ever below the true mean with a chance of alpha / 2 at most."""


class SequentialMean:
    """The mean of bounded observations, which may be looked at after each of them.

    For every supposed mean there is a game that is fair if it is true; two gamblers, one for "it is
    more" and one for "it is less", spread their capital over fixed stakes. A supposed mean is refused
    where one of them has multiplied it by 2 / alpha: that happens, ever, with a chance of alpha / 2 at
    most (Ville's inequality). All that is needed is that an observation has the same mean whatever
    came before it; observations of one conversation should be averaged into one.

    The bounds do not depend on the order of what was added, and hold the mean so far. They are not
    the running intersection: that of all looks is as valid, may be narrower, and may miss the mean so
    far. What lies between two of 65 positions is counted in shares at both, which widens the bounds a
    little and never narrows them (the logarithm is concave); 0 and 1, or -1, 0 and 1, are exact.
    Memory does not grow with the count.

    Source:
        Waudby-Smith and Ramdas, Estimating Means of Bounded Random Variables by Betting, JRSS-B, 2024:
        the hedged capital process with a grid of constant (Kelly) stakes, here spaced evenly in their
        logarithms.
    """

    def __init__(self, config: SequentialConfig | None = None) -> None:
        self.config = config or SequentialConfig()
        self._count = 0
        self._tally = np.zeros(_CELLS + 1)

    def add(self, value: float) -> None:
        """Count one observation.

        Raises:
            InvalidData: it is not a number within the bounds; nothing was counted.
        """
        self.add_many([value])

    def add_many(self, values: Iterable[float]) -> None:
        """Count observations, as if one by one.

        Raises:
            InvalidData: one is not a number within the bounds; none was counted.
        """
        observed = np.fromiter(values, dtype=np.float64)
        config = self.config
        outside = observed[~((observed >= config.least) & (observed <= config.most))]
        if len(outside):
            raise InvalidData(f"{outside[0]} is not within {config.least} and {config.most}.")
        self._tally += tally_of((observed - config.least) / (config.most - config.least))
        self._count += len(observed)

    def estimate(self) -> SequentialEstimate:
        """Return the mean so far with its bounds."""
        config, tally = self.config, self._tally
        if not self._count:
            return SequentialEstimate(0, None, config.least, config.most)
        share = _mean(tally)
        low = min(share, _lower_bound(tally, config))
        high = max(share, 1 - _lower_bound(tally[::-1], config))
        value, low, high = (
            config.least + each * (config.most - config.least) for each in (share, low, high)
        )
        return SequentialEstimate(self._count, value, low, high)


def tally_of(shares: FloatArray) -> FloatArray:
    """Return how often each position was observed, ``[P]``; parts at both neighbours in between."""
    scaled = shares * _CELLS
    left = np.minimum(scaled.astype(np.int64), _CELLS - 1)
    right = scaled - left
    tally = np.zeros(_CELLS + 1)
    tally += np.bincount(left, 1 - right, _CELLS + 1)
    tally += np.bincount(left + 1, right, _CELLS + 1)
    return tally


def log_capital(tally: FloatArray, mean: float, shares: FloatArray) -> FloatArray:
    """Return the logarithm of what a bet on "more than `mean`" has made of 1, ``[..., P]`` to ``[...]``.

    Semantics:
        log(1/D · Σ_d Π_i (1 + c_d·(x_i / mean - 1))), c the stakes. It falls as `mean` rises, and is
        at most 0 at the mean of the tally itself.
    """
    used = tally.reshape(-1, tally.shape[-1]).any(axis=0)
    positions = np.linspace(0, 1, tally.shape[-1])[used]
    gains = np.log1p(shares[:, None] * (positions / mean - 1))
    capital: FloatArray = np.logaddexp.reduce(tally[..., used] @ gains.T, axis=-1)
    return capital - math.log(len(shares))


@dataclass(frozen=True)
class CanaryVerdict:
    """Whether a canary must stop, is safe so far, or has to be watched on; and why."""

    outcome: CanaryOutcome
    reason: str
    estimate: SequentialEstimate


def disagreement_verdict(estimate: SequentialEstimate, most: float) -> CanaryVerdict:
    """Return what a share of disagreement (or of invalid answers) says beside the `most` allowed.

    However often it is asked, a share that is allowed is stopped with a chance of alpha / 2 at most,
    and one that is not is called safe with a chance of alpha / 2 at most.

    Raises:
        InvalidConfig: `most` is not between 0 and 1.
    """
    if not 0 < most < 1:
        raise InvalidConfig("most must lie between 0 and 1.", field="most")
    if estimate.low > most:
        return _verdict("stop", f"more than the {most:.1%} allowed", estimate)
    if estimate.high < most:
        return _verdict("safe", f"less than the {most:.1%} allowed", estimate)
    return _verdict("watch", f"not yet told apart from the {most:.1%} allowed", estimate)


def non_inferiority_verdict(estimate: SequentialEstimate, margin: float) -> CanaryVerdict:
    """Return what paired differences, challenger less champion, say beside a margin.

    As in the release gate, harm is a challenger that is worse beyond doubt and, by what was seen, by
    more than the margin. However often it is asked, one that is as good as the champion is stopped
    with a chance of alpha / 2 at most, and one that is worse by the margin is called safe with a
    chance of alpha / 2 at most.

    Raises:
        InvalidConfig: `margin` is not between 0 and 1.
    """
    if not 0 < margin < 1:
        raise InvalidConfig("margin must lie between 0 and 1.", field="margin")
    if estimate.low > -margin:
        return _verdict("safe", f"not worse by {margin:.1%}", estimate)
    if estimate.value is not None and estimate.high < 0 and estimate.value < -margin:
        return _verdict("stop", f"worse, and by more than {margin:.1%} so far", estimate)
    return _verdict("watch", f"neither shown worse nor within {margin:.1%}", estimate)


@dataclass(frozen=True)
class SpendingConfig:
    """When there will be looks, and how the error is spread over them.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    fractions: tuple[float, ...]
    """Which share of all observations is known at each look, ``[L]``, rising to at most 1."""
    alpha: float = 0.05
    shape: SpendingShape = "obrien_fleming"
    """Little at early looks (``obrien_fleming``), or about as much at each (``pocock``)."""
    two_sided: bool = True
    """Half of alpha on each side; False: all of it on one."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 0.5:
            raise InvalidConfig("alpha must be above 0 and at most 0.5.", field="alpha")
        if self.shape not in ("obrien_fleming", "pocock"):
            raise InvalidConfig("shape must be obrien_fleming or pocock.", field="shape")
        gaps = [later - earlier for earlier, later in pairwise((0.0, *self.fractions))]
        if not gaps or not min(gaps) >= _LEAST_GAP or self.fractions[-1] > 1:
            message = f"fractions must rise to at most 1, by {_LEAST_GAP} or more at each look."
            raise InvalidConfig(message, field="fractions")

    @classmethod
    def evenly(cls, looks: int, alpha: float = 0.05) -> SpendingConfig:
        """Return a plan of evenly spaced looks, the last one at the end."""
        return cls(tuple(look / looks for look in range(1, looks + 1)), alpha)

    @property
    def tail(self) -> float:
        """The share of one tail."""
        return self.alpha / 2 if self.two_sided else self.alpha


def spent_alpha(fraction: float, config: SpendingConfig) -> float:
    """Return how much of one tail may be spent once a fraction of all observations is known.

    Source:
        Lan and DeMets, Discrete Sequential Boundaries for Clinical Trials, Biometrika, 1983.
    """
    if config.shape == "pocock":
        return config.tail * math.log1p((math.e - 1) * fraction)
    return 2 * float(norm.sf(norm.isf(config.tail / 2) / math.sqrt(fraction)))


def spending_boundaries(config: SpendingConfig) -> tuple[float, ...]:
    """Return beyond which z to stop at each look, ``[L]``; 8 at most.

    z is the sum of independent observations in standard errors: normal, so each look should come
    behind dozens of them. Two-sided boundaries are those of z without its sign.

    Source:
        Lan and DeMets, 1983, integrated look by look as in Armitage, McPherson and Rowe, Repeated
        Significance Tests on Accumulating Data, 1969; Reboussin, DeMets, Kim and Lan, Computations for
        Group Sequential Boundaries Using the Lan-DeMets Spending Function Method, 2000.
    """
    steps = [later - earlier for earlier, later in pairwise((0.0, *config.fractions))]
    finest = math.sqrt(min(steps))
    paths, spent, found = _Paths.at_start(), 0.0, list[float]()
    for gap, fraction in zip(steps, config.fractions, strict=True):
        allowed = spent_alpha(fraction, config)
        scale, step = math.sqrt(fraction), math.sqrt(gap)
        found.append(paths.boundary(allowed - spent, scale, step))
        lowest = -found[-1] if config.two_sided else -_MOST_Z
        paths = paths.onward(lowest * scale, found[-1] * scale, step, finest)
        spent = allowed
    return tuple(found)


@dataclass(frozen=True)
class _Paths:
    """Where Brownian motion is that has not crossed a boundary yet: masses at nodes."""

    nodes: FloatArray
    masses: FloatArray

    @classmethod
    def at_start(cls) -> _Paths:
        return cls(np.zeros(1), np.ones(1))

    def crossing(self, edge: float, step: float) -> float:
        """Return how likely it is that the next step ends above `edge`."""
        return float(self.masses @ norm.sf((edge - self.nodes) / step))

    def boundary(self, allowed: float, scale: float, step: float) -> float:
        """Return beyond which z the next look stops as often as allowed."""

        def excess(z: float) -> float:
            return self.crossing(z * scale, step) - allowed

        return _MOST_Z if excess(_MOST_Z) >= 0 else float(brentq(excess, -_MOST_Z, _MOST_Z))

    def onward(self, low: float, high: float, step: float, finest: float) -> _Paths:
        """Return where those are that end the next step between `low` and `high`."""
        count = max(_LEAST_NODES, math.ceil(_NODES_PER_STEP * (high - low) / finest))
        points, weights = np.polynomial.legendre.leggauss(count)
        nodes = (high + low) / 2 + (high - low) / 2 * points
        density = norm.pdf((nodes[:, None] - self.nodes) / step) @ self.masses / step
        return _Paths(nodes, density * weights * (high - low) / 2)


def _mean(tally: FloatArray) -> float:
    return float(tally @ np.linspace(0, 1, len(tally)) / tally.sum())


def _lower_bound(tally: FloatArray, config: SequentialConfig) -> float:
    """Return the least mean in [0, 1] that is not refused for being too small."""
    needed = math.log(2 / config.alpha)

    def excess(log_mean: float) -> float:
        return float(log_capital(tally, math.exp(log_mean), config.shares)) - needed

    mean = _mean(tally)
    if mean <= _NEAR_ZERO or excess(math.log(_NEAR_ZERO)) <= 0:
        return 0.0
    # Nearly a straight line in the logarithm of the mean.
    return math.exp(brentq(excess, math.log(_NEAR_ZERO), math.log(mean), xtol=1e-10))


def _verdict(outcome: CanaryOutcome, says: str, estimate: SequentialEstimate) -> CanaryVerdict:
    seen = "nothing yet" if estimate.value is None else f"{estimate.value:.1%}"
    bounds = f"{estimate.low:.1%} to {estimate.high:.1%}"
    return CanaryVerdict(outcome, f"{seen} of {estimate.count:,} ({bounds}): {says}.", estimate)
