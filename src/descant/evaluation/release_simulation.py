"""What a release policy does before it is used: simulated releases of which the truth is known.

Key: ``N`` conversations, ``A`` indicators. All indicators are binary.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from descant.evaluation.measures import MEASURES
from descant.evaluation.pairing import Pairing, difference_of
from descant.evaluation.release import verdict_of
from descant.evaluation.release_checks import difference_checks
from descant.evaluation.release_policy import ReleasePolicy, Verdict
from descant.evaluation.statistics import FloatArray, IntArray, Interval, wilson_interval
from descant.schema import Indicator
from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class ReleaseWorld:
    """The truth about a candidate and a champion.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    difference: float
    """Candidate less champion in the policy's measure, of all conversations there could be."""
    rows: int = 300
    indicators: int = 1
    positive_share: float = 0.5
    accuracy: float = 0.85
    """Of the champion."""
    discordance: float = 0.06
    """The share of questions that one of the two gets right and the other wrong, were they equal."""
    agents: int = 0
    """Agents who share the conversations; losses differ from one to the next. 0: none."""

    def __post_init__(self) -> None:
        for name in ("positive_share", "accuracy", "discordance"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must lie between 0 and 1.", field=name)
        for name in ("rows", "indicators"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)


@dataclass(frozen=True)
class VerdictShares:
    """How simulated releases ended."""

    releases: int
    promoted: int
    held: int
    rejected: int

    @property
    def promoted_share(self) -> float:
        """The share that was promoted."""
        return self.promoted / self.releases

    @property
    def promoted_interval(self) -> Interval:
        """Wilson's 95 % interval of it."""
        return wilson_interval(self.promoted, self.releases) or Interval(0.0, 1.0)


def simulate_releases(
    world: ReleaseWorld, policy: ReleasePolicy, releases: int, seed: int = 0
) -> VerdictShares:
    """Return how releases end under a policy, each with conversations of its own.

    Raises:
        InvalidConfig: no candidate has that difference in this world.
    """
    shift = _shift(world, policy.measure)
    generator = np.random.default_rng(seed)
    ends = Counter(_verdict(world, shift, policy, generator) for _ in range(releases))
    return VerdictShares(releases, ends["promote"], ends["hold"], ends["reject"])


def _verdict(
    world: ReleaseWorld, shift: float, policy: ReleasePolicy, generator: np.random.Generator
) -> Verdict:
    ids = tuple(map(str, range(world.rows)))
    agents = generator.integers(0, max(world.agents, 1), world.rows)
    # Of mean 1, so that the difference is the same: most agents lose little, a few lose much.
    factors = generator.exponential(size=world.agents)[agents] if world.agents else None
    pairing = Pairing(_indicators(world), ids, _tallies(world, shift, factors, generator))
    clusters = dict(zip(ids, map(str, agents), strict=True)) if world.agents else {}
    return verdict_of(difference_checks(pairing, (), clusters, policy))


def _indicators(world: ReleaseWorld) -> tuple[Indicator, ...]:
    names = [f"indicator_{at}" for at in range(world.indicators)]
    return tuple(Indicator(n, "Is it?", ("no", "yes"), ("yes",), "binary", n) for n in names)


def _tallies(
    world: ReleaseWorld, shift: float, factors: FloatArray | None, generator: np.random.Generator
) -> IntArray:
    """Return drawn tallies, ``[N, 2, A, 2, 3]``."""
    shape = (world.rows, world.indicators)
    both, loss, win = _shares(world, shift)
    losses = np.broadcast_to(loss if factors is None else loss * factors[:, None], shape)
    drawn = generator.random(shape)
    is_loss = drawn < losses
    is_both = ~is_loss & (drawn < both + loss)
    is_win = drawn >= 1 - win
    right = generator.random(shape) < world.positive_share
    tallies = np.zeros((world.rows, 2, world.indicators, 2, 3), dtype=np.int64)
    at, each = np.indices(shape)
    for side, is_right in enumerate((is_both | is_win, is_both | is_loss)):
        answers = np.where(is_right, right, ~right).astype(int)
        tallies[at, side, each, right.astype(int), answers] = 1
    return tallies


def _shares(world: ReleaseWorld, shift: float) -> tuple[float, float, float]:
    """Return how often both are right, only the champion, and only the candidate."""
    half = world.discordance / 2
    loss, win = max(half - shift, 0.0), max(half + shift, 0.0)
    return world.accuracy - loss, loss, win


def _shift(world: ReleaseWorld, measure: str) -> float:
    """Return by how much wins outdo losses where the truth differs as it should."""
    least, most = world.discordance / 2 - world.accuracy, 1 - world.accuracy - world.discordance / 2

    def lack(shift: float) -> float:
        found = difference_of(_expected(world, shift), MEASURES[measure])
        return float(found[0]) - world.difference

    if not lack(least) <= 0 <= lack(most):
        raise InvalidConfig("No candidate is so far from the champion.", field="difference")
    return float(brentq(lack, least, most))


def _expected(world: ReleaseWorld, shift: float) -> IntArray:
    """Return the expected tally in millionths of millionths, ``[1, 2, 1, 2, 3]``."""
    both, loss, win = _shares(world, shift)
    tally = np.zeros((1, 2, 1, 2, 3))
    for right, share in enumerate((1 - world.positive_share, world.positive_share)):
        for side, correct in enumerate((both + win, both + loss)):
            tally[0, side, 0, right, right] = share * correct
            tally[0, side, 0, right, 1 - right] = share * (1 - correct)
    return np.rint(tally * 1e12).astype(np.int64)
