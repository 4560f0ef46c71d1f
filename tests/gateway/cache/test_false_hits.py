from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache.false_hits import (
    FalseHitConfig,
    FalseHitGate,
    log_evidence,
    upper_bound,
)

NUM_RUNS = 60
NUM_HITS = 5000
CONFIG = FalseHitConfig()
Rate = Callable[[int], float]


def constant(rate: float) -> Callable[[random.Random], Rate]:
    return lambda chance: lambda hit: rate


def any_constant(chance: random.Random) -> Rate:
    rate = 10 ** chance.uniform(-4, -0.5)
    return lambda hit: rate


def turns_bad(chance: random.Random) -> Rate:
    """At some time near-duplicates with other answers begin to come."""
    turn, rate = chance.randrange(NUM_HITS), chance.uniform(0.02, 0.5)
    return lambda hit: 0.0005 if hit < turn else rate


def bursts(chance: random.Random) -> Rate:
    period, rate = chance.randrange(1500, 3000), chance.uniform(0.05, 0.5)
    return lambda hit: rate if hit % period > 0.9 * period else 0.0


def run(seed: int, generator: Callable[[random.Random], Rate]) -> tuple[int, int]:
    """Return how many hits were served, and how many of these were false."""
    chance = random.Random(seed)
    gate = FalseHitGate("r", CONFIG, chance.random)
    rate = generator(chance)
    num_served = num_false = 0
    for hit in range(NUM_HITS):
        is_false = chance.random() < rate(hit)
        if gate.may_serve():
            num_served += 1
            num_false += is_false
        else:
            gate.record(is_false)
    assert gate.state().served == num_served
    return num_served, num_false


@pytest.mark.parametrize(
    "generator",
    [constant(0.001), constant(0.002), constant(0.011), any_constant, turns_bad],
    ids=["0.1 %", "0.2 %", "1.1 %", "any", "turns bad"],
)
def test_the_realised_rate_is_within_the_bound_in_19_of_20_runs(
    generator: Callable[[random.Random], Rate],
) -> None:
    runs = [run(seed, generator) for seed in range(NUM_RUNS)]
    num_over = sum(num_false > CONFIG.most_rate * num_served for num_served, num_false in runs)
    assert num_over <= 0.05 * NUM_RUNS


def test_bad_times_that_come_again_and_again_stay_within_the_bound_on_the_whole() -> None:
    runs = [run(seed, bursts) for seed in range(NUM_RUNS)]
    num_served, num_false = map(sum, zip(*runs, strict=True))
    assert num_served > 0
    assert num_false <= 0.5 * CONFIG.most_rate * num_served


def test_a_good_route_is_served() -> None:
    num_served, num_false = run(1, constant(0.0))
    assert num_served > 0.25 * NUM_HITS
    assert num_false == 0


def test_a_rate_at_the_bound_hardly_ever_opens_the_gate_however_often_it_is_looked_at() -> None:
    config = FalseHitConfig(most_rate=0.05)
    num_opened = 0
    for seed in range(100):
        chance = random.Random(seed)
        gate = FalseHitGate("r", config, chance.random)
        for _ in range(2500):
            gate.record(chance.random() < config.most_rate)
            if gate.check_share < 1:
                num_opened += 1
                break
    assert num_opened <= 100 * config.alpha


def opened() -> FalseHitGate:
    gate = FalseHitGate("refunds", CONFIG, random.Random(1).random)
    while gate.check_share == 1:
        assert not gate.may_serve()
        gate.record(is_false=False)
    return gate


def test_the_warm_up_is_all_checks() -> None:
    state = opened().state()
    assert state.checks == 1354
    assert state.served == 0
    assert state.bound <= CONFIG.most_rate / 3


def test_a_false_answer_among_the_first_turns_it_off_and_it_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = opened()
    with caplog.at_level(logging.WARNING):
        gate.record(is_false=True)
    state = gate.state()
    assert (state.is_open, state.epoch, state.checks) == (False, 2, 0)
    assert "1 of the last 1 checks were false" in state.reason
    assert "refunds" in caplog.text
    assert not gate.may_serve()


def test_later_it_takes_two_among_the_last_fifty() -> None:
    gate = opened()
    while gate.state().served < 400:
        if not gate.may_serve():
            gate.record(is_false=False)
    gate.record(is_false=True)
    assert gate.state().is_open
    gate.record(is_false=True)
    assert not gate.state().is_open


def test_checks_become_rarer_with_what_has_been_served_but_never_end() -> None:
    gate = opened()
    shares = []
    for _ in range(40_000):
        shares.append(gate.check_share)
        if not gate.may_serve():
            gate.record(is_false=False)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[-1] == CONFIG.least_check_share


def test_each_epoch_needs_more_evidence() -> None:
    gate = opened()
    gate.record(is_false=True)
    num_checks = 0
    while gate.check_share == 1:
        gate.record(is_false=False)
        num_checks += 1
    assert num_checks > opened().state().checks


def test_old_checks_do_not_count_for_ever() -> None:
    gate = FalseHitGate("r", CONFIG, random.Random(1).random)
    for _ in range(5000):
        gate.record(is_false=True)
    assert gate.state().epoch == 2
    for _ in range(2500):
        gate.record(is_false=False)
    assert gate.state().is_open


@given(st.integers(0, 3000), st.integers(0, 3000), st.sampled_from([0.05, 0.01]))
def test_the_bound_is_the_largest_rate_that_is_left_possible(
    one: int, other: int, alpha: float
) -> None:
    checks, false = max(one, other), min(one, other)
    bound = upper_bound(checks, false, alpha, CONFIG.most_rate)
    assert false / max(1, checks) <= bound <= 1
    if bound < 1 - 1e-6:
        above = log_evidence(checks, false, min(bound * (1 + 1e-6), 1 - 1e-9), CONFIG.most_rate)
        assert above >= -math.log(alpha) - 1e-3


def test_the_evidence_is_a_martingale() -> None:
    """Its mean after one more check is what it was, whatever was seen before."""
    for checks, false, rate in [(0, 0, 0.01), (10, 1, 0.01), (300, 2, 0.05)]:
        now = math.exp(log_evidence(checks, false, rate, CONFIG.most_rate))
        right = math.exp(log_evidence(checks + 1, false, rate, CONFIG.most_rate))
        wrong = math.exp(log_evidence(checks + 1, false + 1, rate, CONFIG.most_rate))
        assert (1 - rate) * right + rate * wrong == pytest.approx(now)
