"""BCa, clusters and weights; the percentile method is in `test_statistics`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from descant.evaluation import bootstrap_interval, cluster_tallies
from descant.evaluation.statistics import (
    FloatArray,
    IntArray,
    acceleration,
    bootstrap_values,
)


def share(tally: IntArray) -> FloatArray:
    return np.asarray(tally[..., 1] / tally.sum(axis=-1))


def rows_of(values: list[int]) -> IntArray:
    return np.array([[1 - value, value] for value in values], dtype=np.int64)


def slow_acceleration(rows: IntArray) -> float:
    left_out = np.array([share(np.delete(rows, at, axis=0).sum(axis=0)) for at in range(len(rows))])
    gaps = left_out.mean() - left_out
    return float((gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5))


@given(st.lists(st.integers(0, 1), min_size=3, max_size=30))
def test_acceleration_by_kinds_is_that_of_leaving_out_each_row(values: list[int]) -> None:
    if len(set(values)) > 1:
        assert acceleration(rows_of(values), share) == pytest.approx(
            slow_acceleration(rows_of(values))
        )


def test_bca_is_scipys() -> None:
    skewed = np.random.default_rng(0).exponential(size=60)
    rows = np.stack([np.ones(60), skewed], axis=1)

    def mean(sums: FloatArray) -> FloatArray:
        return np.asarray(sums[..., 1] / sums[..., 0])

    ours = bootstrap_interval(rows, mean, seed=1, resamples=20_000, method="bca")
    theirs = bootstrap(
        (skewed,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bca_of_what_never_varies_is_the_value_itself() -> None:
    assert bootstrap_interval(rows_of([1] * 9), share, seed=0, method="bca") == (1.0, 1.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), min_size=1))
def test_a_cluster_is_the_sum_of_its_rows(rows: list[tuple[str, int]]) -> None:
    names, values = zip(*rows, strict=True)
    found = cluster_tallies(np.array(values)[:, None], names)
    slow = {name: sum(value for each, value in rows if each == name) for name in names}
    assert found[:, 0].tolist() == list(slow.values())


def test_rows_that_share_a_cause_are_not_as_many_as_they_look() -> None:
    # Ten agents with ten conversations each; an agent is always right or always wrong.
    rows, agents = (
        rows_of([at % 2 for at in range(10) for _ in range(10)]),
        np.repeat(range(10), 10),
    )
    alone = bootstrap_interval(rows, share, seed=0)
    together = bootstrap_interval(cluster_tallies(rows, agents.tolist()), share, seed=0)
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


@pytest.mark.parametrize("cost", [0, 1000])
def test_kinds_and_conversations_are_drawn_alike(
    cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 50 conversations and one imagined one, drawn as counts of kinds and one by one.
    monkeypatch.setattr("descant.evaluation.statistics._MULTINOMIAL_COST", cost)
    rows, imagined = rows_of([0, 1, 1, 1, 1] * 10), rows_of([0] * 50)
    found = bootstrap_values(rows, share, seed=3, resamples=20_000, imagined=imagined)
    expected = 40 / 51
    assert found.mean() == pytest.approx(expected, abs=0.002)
    assert found.std() == pytest.approx((expected * (1 - expected) / 50) ** 0.5, rel=0.03)


def test_many_resamples_in_parts_are_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(0, 9, (50, 2)) + 1
    whole = bootstrap_values(rows, share, seed=1, resamples=300)
    monkeypatch.setattr("descant.evaluation.statistics._CELLS_AT_ONCE", 700)
    np.testing.assert_allclose(bootstrap_values(rows, share, seed=1, resamples=300), whole)
