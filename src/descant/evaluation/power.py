"""What a test can see before it is run: rows, the smallest difference it finds, and how surely.

Two completers on the same rows differ on some of them, the *discordant* ones. Their share decides how
many rows a difference takes; rows on which both are right, or both wrong, say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class PowerConfig:
    """How sure is sure.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    discordance: float
    """The share of rows that only one of the two gets right."""
    alpha: float = 0.05
    """How often equals may seem to differ."""
    power: float = 0.8
    """How often a difference should be found."""
    two_sided: bool = True
    """False for non-inferiority, which asks in one direction."""

    def __post_init__(self) -> None:
        for name in ("discordance", "alpha", "power"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must lie between 0 and 1.", field=name)

    @property
    def tail(self) -> float:
        """The share of one tail."""
        return self.alpha / 2 if self.two_sided else self.alpha


@dataclass(frozen=True)
class PowerPlan:
    """What a number of rows can show."""

    rows: int
    detectable: float | None
    """The smallest difference that is found as often as asked; None where no difference is."""
    config: PowerConfig

    def to_text(self) -> str:
        """Return one sentence for people, in points of a hundred."""
        with_rows = f"With {self.rows:,} rows"
        if self.detectable is None:
            return f"{with_rows} you can see no difference at all."
        points, half = self.detectable * 100, self.detectable / 2
        more = rows_needed(half, self.config)
        return (
            f"{with_rows} you can see {points:.1f} points, not {half * 100:.1f}: "
            f"that takes {more:,} rows."
        )


def plan_power(rows: int, config: PowerConfig) -> PowerPlan:
    """Return what `rows` can show."""
    return PowerPlan(rows, detectable_difference(rows, config), config)


def rows_needed(difference: float, config: PowerConfig) -> int:
    """Return how many rows it takes to find a difference of two proportions of right answers.

    Semantics:
        n = (z_tail·sqrt(d) + z_power·sqrt(d - difference²))² / difference², d the discordance.

    Raises:
        InvalidConfig: no such difference is possible with that discordance.

    Source:
        Connor, Sample Size for Testing Differences in Proportions for the Paired-Sample Design, 1987.
    """
    if not 0 < abs(difference) <= config.discordance:
        raise InvalidConfig(
            "A difference must be above 0 and at most the discordance.", field="difference"
        )
    from statsmodels.stats.power import normal_sample_size_one_tail

    spread = math.sqrt(config.discordance)
    left = math.sqrt(config.discordance - difference**2)
    needed = normal_sample_size_one_tail(abs(difference), config.power, config.tail, spread, left)
    return math.ceil(float(needed) - 1e-9)


def detectable_difference(rows: int, config: PowerConfig) -> float | None:
    """Return the smallest difference that `rows` show as often as asked; None if none is."""

    def lack(difference: float) -> float:
        return config.power - paired_power(rows, difference, config)

    if rows < 1 or lack(config.discordance) > 0:
        return None
    return float(brentq(lack, 1e-9, config.discordance))


def paired_power(rows: int, difference: float, config: PowerConfig) -> float:
    """Return how often a difference is found, by the normal approximation of `rows_needed`."""
    left = math.sqrt(max(config.discordance - difference**2, 1e-12))
    above = abs(difference) * math.sqrt(rows)
    above -= float(norm.isf(config.tail)) * math.sqrt(config.discordance)
    return float(norm.cdf(above / left))


def mcnemar_power(rows: int, difference: float, config: PowerConfig) -> float:
    """Return how often McNemar's exact two-sided test finds a difference; sums all outcomes.

    The slow and exact twin of `paired_power`, a little below it: an exact test errs on the safe side.
    """
    wins = (config.discordance + difference) / 2 / config.discordance
    found = 0.0
    for differing in range(rows + 1):
        weight = float(binom.pmf(differing, rows, config.discordance))
        if weight > 1e-12:
            found += weight * _found_of(differing, wins, config.alpha)
    return found


def non_inferiority_rows(margin: float, config: PowerConfig, gain: float = 0.0) -> int:
    """Return how many rows it takes to show that the new one is not worse by `margin`.

    `gain` is what the new one is truly better by (0: they are equal). Alpha is of one side.

    Source:
        Lu and Bean, On the Sample Size for One-Sided Equivalence of Sensitivities Based upon
        McNemar's Test, 1995, with the variance of the supposed gain on both sides.
    """
    if margin + gain <= 0:
        raise InvalidConfig("No number of rows shows what is not so.", field="gain")
    bounds = float(norm.isf(config.alpha)) + float(norm.ppf(config.power))
    return math.ceil(bounds**2 * (config.discordance - gain**2) / (margin + gain) ** 2)


def _found_of(differing: int, wins: float, alpha: float) -> float:
    """Return how likely a split of these is that the test calls uneven."""
    below = binom.cdf(np.arange(differing // 2 + 1), differing, 0.5)
    few = int(np.searchsorted(2 * below, alpha, side="right"))
    return float(binom.cdf(few - 1, differing, wins) + binom.sf(differing - few, differing, wins))
