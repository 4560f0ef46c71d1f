from __future__ import annotations

import json

import pytest

from descant.evaluation import Predictions, noise_floor
from tests.evaluation.outcomes import BINARY, Pair, outcomes

RUN: list[Pair] = [("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "no")] * 25
AGAIN: list[Pair] = [*RUN[:90], *[(right, None) for right, _ in RUN[90:]]]


def run(pairs: list[Pair]) -> Predictions:
    return Predictions("calls", tuple(outcomes(BINARY, pairs)))


def test_a_run_that_repeats_itself_has_no_noise() -> None:
    found = noise_floor((BINARY,), run(RUN), run(RUN))
    assert found is not None
    assert (found.answers, found.changed, found.floor) == (100, 0, 0.0)
    assert found.changed_share.high > 0.03


def test_the_floor_is_the_far_end_of_what_two_runs_may_differ_by() -> None:
    found = noise_floor((BINARY,), run(RUN), run(AGAIN))
    assert found is not None
    assert found.changed == 10
    assert found.changed_share.value == pytest.approx(0.1)
    assert found.floor == max(abs(found.difference.low), abs(found.difference.high))
    assert found.floor > abs(found.difference.value) > 0
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["floor"] == found.floor


def test_nothing_run_twice_says_nothing() -> None:
    assert noise_floor((BINARY,), run([]), run([])) is None
