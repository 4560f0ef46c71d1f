from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from descant.evaluation import (
    SequentialConfig,
    SequentialEstimate,
    SequentialMean,
    SpendingConfig,
    disagreement_verdict,
    non_inferiority_verdict,
    spending_boundaries,
)
from descant.evaluation.sequential import log_capital, spent_alpha, tally_of
from descant.evaluation.statistics import FloatArray
from descant.schema.errors import InvalidConfig, InvalidData

DIFFERENCES = SequentialConfig(least=-1.0)
TEN_LOOKS = SpendingConfig.evenly(10)
# Of 0, a half and 1: answers that differ or not, and paired differences moved to [0, 1].
WORLDS = [(0.95, 0.0, 0.05), (0.5, 0.0, 0.5), (0.04, 0.92, 0.04), (0.02, 0.9, 0.08)]

shares = st.lists(st.floats(0, 1), min_size=1, max_size=60)
outcomes = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=300)


def seen(values: list[float] | FloatArray, config: SequentialConfig | None = None) -> FloatArray:
    found = estimated(values, config)
    return np.array([found.low, found.value, found.high])


def estimated(
    values: list[float] | FloatArray, config: SequentialConfig | None = None
) -> SequentialEstimate:
    mean = SequentialMean(config)
    mean.add_many(values)
    return mean.estimate()


def slow_capital(values: list[float], mean: float, config: SequentialConfig) -> float:
    """What all gamblers together made of 1, bet by bet."""
    capital = 0.0
    for stake in config.shares:
        own = 1.0
        for value in values:
            own *= 1 + stake * (value / mean - 1)
        capital += own / config.stakes
    return capital


def ever_refused(world: tuple[float, ...], runs: int, looks: int, seed: int) -> FloatArray:
    """How often the truth is refused at any of `looks` looks, as too small and as too large."""
    mean = world[1] / 2 + world[2]
    drawn = np.random.default_rng(seed).choice(3, size=(runs, looks), p=world)
    tallies = np.cumsum(drawn[..., None] == np.arange(3), axis=1, dtype=np.float64)
    bets, needed = SequentialConfig().shares, math.log(2 / 0.05)
    sides = [log_capital(tallies, mean, bets), log_capital(tallies[..., ::-1], 1 - mean, bets)]
    return np.array([(capital >= needed).any(axis=1).mean() for capital in sides])


@pytest.mark.parametrize("world", WORLDS)
def test_a_look_after_every_observation_gives_no_more_false_alarms(
    world: tuple[float, ...],
) -> None:
    assert ever_refused(world, runs=120, looks=600, seed=0).sum() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_nor_do_ten_thousand_looks(world: tuple[float, ...]) -> None:
    found = np.mean([ever_refused(world, 50, 10_000, seed) for seed in range(40)], axis=0)
    assert (found <= 0.025).all()


def test_an_interval_for_one_look_would() -> None:
    drawn = np.random.default_rng(0).random((400, 800)) < 0.5
    counts = np.arange(1, 801)
    z = (drawn.cumsum(axis=1) - counts / 2) / np.sqrt(counts / 4)
    assert (np.abs(z[:, 20:]) >= norm.isf(0.025)).any(axis=1).mean() > 0.3


@settings(deadline=None, max_examples=40)
@given(outcomes, st.floats(0.02, 0.98))
def test_a_mean_is_outside_where_a_gambler_has_won_enough(
    values: list[float], supposed: float
) -> None:
    moved = [(value + 1) / 2 for value in values]
    low, _, high = (seen(values, DIFFERENCES) + 1) / 2
    capital = slow_capital(moved, supposed, DIFFERENCES)
    against = slow_capital([1 - value for value in moved], 1 - supposed, DIFFERENCES)
    if min(abs(supposed - low), abs(supposed - high)) > 1e-6:
        assert (low > supposed) == (capital > 2 / 0.05)
        assert (high < supposed) == (against > 2 / 0.05)
    tally = tally_of(np.array(moved))
    logged = float(log_capital(tally, supposed, DIFFERENCES.shares))
    assert logged == pytest.approx(math.log(capital), abs=1e-8)


@settings(deadline=None, max_examples=40)
@given(shares, st.floats(0.01, 0.99))
def test_counting_in_between_never_gains(values: list[float], supposed: float) -> None:
    exact = slow_capital(values, supposed, SequentialConfig())
    counted = float(log_capital(tally_of(np.array(values)), supposed, SequentialConfig().shares))
    assert counted <= math.log(exact) + 1e-9


@settings(deadline=None, max_examples=40)
@given(shares)
def test_order_and_portions_do_not_matter(values: list[float]) -> None:
    one_by_one = SequentialMean()
    for value in sorted(values):
        one_by_one.add(value)
    found = one_by_one.estimate()
    assert found.count == len(values)
    assert [found.low, found.value, found.high] == pytest.approx(seen(values), abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(shares)
def test_the_interval_holds_the_mean_so_far_and_turns_with_the_sides(values: list[float]) -> None:
    low, value, high = seen(values)
    assert 0 <= low <= value <= high <= 1
    assert value == pytest.approx(np.mean(values), abs=1e-9)
    turned = seen([1 - value for value in values])
    assert turned[::-1] == pytest.approx(1 - np.array([low, value, high]), abs=1e-7)
    wide = SequentialConfig(least=-3.0, most=5.0)
    assert seen([8 * value - 3 for value in values], wide) == pytest.approx(
        [8 * low - 3, 8 * value - 3, 8 * high - 3], abs=1e-5
    )


def test_the_truth_of_any_bounded_observations_stays_inside() -> None:
    generator = np.random.default_rng(1)
    missed = 0
    for _ in range(30):
        mean, is_missed = SequentialMean(), False
        for portion in generator.beta(0.5, 4.5, (10, 40)):
            mean.add_many(portion)
            found = mean.estimate()
            is_missed |= not found.low <= 0.1 <= found.high
        missed += is_missed
    assert missed <= 1


def test_the_price_of_looking_is_less_than_twice_the_width() -> None:
    for count, share in ((1000, 0.02), (1000, 0.5), (100_000, 0.02), (100_000, 0.5)):
        low, _, high = seen(np.arange(count) < share * count)
        wald = 2 * norm.isf(0.025) * math.sqrt(share * (1 - share) / count)
        assert 1 < (high - low) / wald < 2


def test_what_never_happened_may_still_happen() -> None:
    assert seen([0.0] * 40)[[0, 2]] == pytest.approx([0.0, 0.16], abs=0.01)
    assert seen([0.0] * 4000)[2] < 0.002
    nothing = estimated([], DIFFERENCES)
    assert nothing == SequentialEstimate(0, None, -1.0, 1.0)
    assert non_inferiority_verdict(nothing, 0.02).outcome == "watch"
    assert "nothing yet" in disagreement_verdict(nothing, 0.02).reason


def first_outcome(drawn: FloatArray, margin: float) -> tuple[str, int]:
    mean = SequentialMean(DIFFERENCES)
    for portion in drawn.reshape(-1, 100):
        mean.add_many(portion)
        verdict = non_inferiority_verdict(mean.estimate(), margin)
        if verdict.outcome != "watch":
            return verdict.outcome, verdict.estimate.count
    return "watch", len(drawn)


@pytest.mark.parametrize(("loss", "win", "outcome"), [(0.1, 0.02, "stop"), (0.02, 0.04, "safe")])
def test_a_real_difference_ends_a_canary(loss: float, win: float, outcome: str) -> None:
    generator = np.random.default_rng(2)
    for _ in range(10):
        drawn = generator.choice([-1.0, 0.0, 1.0], 2000, p=[loss, 1 - loss - win, win])
        assert first_outcome(drawn, margin=0.02)[0] == outcome


def test_disagreement_is_stopped_called_safe_or_watched() -> None:
    ends = [
        disagreement_verdict(estimated(np.arange(1000) < wrong), 0.05) for wrong in (20, 50, 100)
    ]
    assert [end.outcome for end in ends] == ["safe", "watch", "stop"]
    assert ends[2].reason.startswith("10.0% of 1,000 (")
    assert ends[2].reason.endswith("): more than the 5.0% allowed.")


def test_worse_but_within_the_margin_is_safe_and_slightly_beyond_doubt_is_watched() -> None:
    def outcome(low: float, value: float, high: float) -> str:
        return non_inferiority_verdict(SequentialEstimate(9, value, low, high), 0.02).outcome

    assert outcome(-0.019, -0.01, -0.001) == "safe"
    assert outcome(-0.03, -0.01, -0.001) == "watch"
    assert outcome(-0.05, -0.03, -0.001) == "stop"
    assert outcome(-0.05, -0.03, 0.001) == "watch"


@pytest.mark.parametrize(
    ("shape", "printed"),
    [
        ("obrien_fleming", [4.877, 3.357, 2.680, 2.290, 2.031]),
        ("pocock", [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_boundaries_of_five_looks_are_those_in_print(shape: str, printed: list[float]) -> None:
    """Reboussin, DeMets, Kim and Lan, 2000: five even looks, two-sided alpha 0.05."""
    config = SpendingConfig((0.2, 0.4, 0.6, 0.8, 1.0), shape=shape)  # type: ignore[arg-type]
    assert [round(z, 3) for z in spending_boundaries(config)] == printed


def test_one_look_is_the_test_without_looks() -> None:
    assert spending_boundaries(SpendingConfig((1.0,))) == pytest.approx([norm.isf(0.025)])
    assert spending_boundaries(SpendingConfig((1.0,), two_sided=False)) == pytest.approx(
        [norm.isf(0.05)]
    )


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("fractions", [(0.3, 0.45, 1.0), (0.1, 0.8, 0.9)])
def test_what_is_spent_is_what_a_multivariate_normal_says(
    fractions: tuple[float, ...], two_sided: bool
) -> None:
    config = SpendingConfig(fractions, 0.1, "pocock", two_sided)
    bounds = np.array(spending_boundaries(config))
    times = np.array(fractions)
    for looks in range(1, len(times) + 1):
        scale = np.sqrt(times[:looks])
        z = multivariate_normal(cov=np.minimum.outer(scale, scale) / np.maximum.outer(scale, scale))
        lowest = -bounds[:looks] if two_sided else np.full(looks, -8.0)
        crossed = 1 - float(z.cdf(bounds[:looks], lower_limit=lowest))
        sides = 2 if two_sided else 1
        assert crossed == pytest.approx(sides * spent_alpha(times[looks - 1], config), abs=1e-5)


def test_planned_looks_give_the_false_alarms_they_promise() -> None:
    steps = np.random.default_rng(3).standard_normal((40_000, 10))
    z = steps.cumsum(axis=1) / np.sqrt(np.arange(1, 11))
    alarms = (np.abs(z) >= spending_boundaries(TEN_LOOKS)).any(axis=1).mean()
    assert alarms == pytest.approx(0.05, abs=0.004)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(5, 100), min_size=1, max_size=6, unique=True), st.floats(0.001, 0.2))
def test_early_looks_are_harder_and_no_bound_is_below_that_of_one_look(
    hundredths: list[int], alpha: float
) -> None:
    config = SpendingConfig(tuple(sorted(at / 100 for at in hundredths)), alpha)
    bounds = spending_boundaries(config)
    assert min(bounds) >= norm.isf(alpha / 2) - 1e-9
    spent = [spent_alpha(fraction, config) for fraction in config.fractions]
    assert all(before < after for before, after in pairwise([0.0, *spent]))
    assert spent_alpha(1.0, config) == pytest.approx(alpha / 2)


def test_what_cannot_be_is_refused() -> None:
    for field, value in (("alpha", 1.0), ("least", 1.0), ("stakes", 0), ("smallest_stake", 1.0)):
        with pytest.raises(InvalidConfig, match=field):
            SequentialConfig(**{field: value})  # type: ignore[arg-type]
    for fractions in ((), (0.5, 0.5), (0.5, 1.1), (math.nan,)):
        with pytest.raises(InvalidConfig, match="fractions"):
            SpendingConfig(fractions)
    with pytest.raises(InvalidConfig, match="alpha"):
        SpendingConfig((1.0,), alpha=0.6)
    with pytest.raises(InvalidConfig, match="shape"):
        SpendingConfig((1.0,), shape="haybittle")  # type: ignore[arg-type]
    nothing = SequentialMean().estimate()
    for verdict in (disagreement_verdict, non_inferiority_verdict):
        with pytest.raises(InvalidConfig, match="between 0 and 1"):
            verdict(nothing, 0.0)


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1])
def test_an_observation_out_of_bounds_is_refused_and_nothing_is_counted(wrong: float) -> None:
    mean = SequentialMean()
    with pytest.raises(InvalidData, match="is not within"):
        mean.add_many([0.5, wrong])
    assert mean.estimate().count == 0
