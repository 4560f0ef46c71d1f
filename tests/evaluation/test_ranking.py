from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from descant.evaluation.ranking import auroc_and_error, ranking
from descant.evaluation.reliability import Forecasts

rows = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7]), st.booleans()), min_size=6)


def forecasts(given_rows: list[tuple[float, bool]]) -> Forecasts:
    shares = np.array([share for share, _ in given_rows])
    right = np.array([int(is_positive) for _, is_positive in given_rows], dtype=np.int64)
    return Forecasts(np.stack([1 - shares, shares], axis=1), right)


def slow_error(ups: list[float], downs: list[float]) -> float:
    """DeLong's variance, pair by pair."""
    wins = np.array([[(u > d) + (u == d) / 2 for d in downs] for u in ups])
    by_up, by_down = wins.mean(axis=1), wins.mean(axis=0)
    found = np.var(by_up, ddof=1) / len(ups) + np.var(by_down, ddof=1) / len(downs)
    return float(found**0.5)


@settings(deadline=None, max_examples=50)
@given(rows)
def test_values_are_scikit_learns_and_lie_in_their_intervals(
    given_rows: list[tuple[float, bool]],
) -> None:
    found = ranking(forecasts(given_rows), [1])
    shares, positive = zip(*given_rows, strict=True)
    if len(set(positive)) == 1:
        assert found is None
        return
    assert found is not None
    assert found.auroc.value == pytest.approx(roc_auc_score(positive, shares))
    assert found.auprc.value == pytest.approx(average_precision_score(positive, shares))
    for estimate in (found.auroc, found.auprc):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@settings(deadline=None, max_examples=50)
@given(rows)
def test_the_error_by_ranks_is_delongs_by_pairs(given_rows: list[tuple[float, bool]]) -> None:
    ups = [share for share, is_positive in given_rows if is_positive]
    downs = [share for share, is_positive in given_rows if not is_positive]
    if min(len(ups), len(downs)) > 1:
        shares, positive = map(np.array, zip(*given_rows, strict=True))
        assert auroc_and_error(shares, positive)[1] == pytest.approx(slow_error(ups, downs))


def test_the_interval_of_the_area_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth, hits = 0.760250, 0  # Two normals one apart: the area is the normal of 1 / sqrt(2).
    for _ in range(300):
        shares = np.concatenate([generator.normal(1, 1, 40), generator.normal(0, 1, 60)])
        scaled = 1 / (1 + np.exp(-shares))
        found = ranking(forecasts([(s, at < 40) for at, s in enumerate(scaled)]), [1])
        assert found is not None
        hits += found.auroc.low <= truth <= found.auroc.high
    assert 275 <= hits <= 297


def test_a_faultless_ranking_of_few_rows_is_no_certainty() -> None:
    found = ranking(forecasts([(0.9, True)] * 5 + [(0.1, False)] * 50), [1])
    assert found is not None
    assert found.auroc.value == found.auprc.value == 1.0
    assert found.auroc.low == pytest.approx(0.566, abs=0.001)
