"""Published worked examples, to their printed digits."""

from __future__ import annotations

import numpy as np
import pytest

from descant.evaluation import (
    PowerConfig,
    benjamini_hochberg_p_values,
    bootstrap_interval,
    holm_p_values,
    mcnemar_p_value,
    permutation_p_value,
    proportion_non_inferiority,
    rouge_l,
    wilson_interval,
)
from descant.evaluation.agreement import kappa_of
from descant.evaluation.non_inferiority import tango_interval, tango_score
from descant.evaluation.power import rows_needed
from descant.evaluation.statistics import (
    FloatArray,
    acceleration,
    bias_correction,
    bootstrap_values,
)

# Efron and Tibshirani, An Introduction to the Bootstrap, 1993, table 14.1: test A of 26 children.
SPATIAL = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6]
SPATIAL += [0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]
# Darwin's maize: crossed less self-fertilized, eighths of an inch; Fisher, The Design of Experiments,
# 1935, table 3.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Benjamini and Hochberg, Controlling the False Discovery Rate, 1995, section 3.1.
MYOCARDIAL = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
MYOCARDIAL += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]


def moments(values: list[int]) -> FloatArray:
    column = np.array(values, dtype=np.float64)
    return np.stack([np.ones(len(column)), column, column**2], axis=1)


def variance(sums: FloatArray) -> FloatArray:
    count, total, squares = (sums[..., at] for at in range(3))
    return np.asarray(squares / count - (total / count) ** 2)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(successes: int, total: int, low: float, high: float) -> None:
    # Newcombe, Two-Sided Confidence Intervals for the Single Proportion, 1998, table I, method 3.
    found = wilson_interval(successes, total)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_mcnemar_exact() -> None:
    # Armitage and Berry, Statistical Methods in Medical Research, 1994, page 127: two media, 12 and 2
    # specimens grew on one only.
    assert round(mcnemar_p_value(12, 2), 4) == 0.0129


def test_mcnemar_of_approval_ratings() -> None:
    # Agresti, Categorical Data Analysis, 2002, section 10.1: 794, 150, 86, 570; z² = 17.36, the
    # difference 0.04 within 0.02 and 0.06.
    assert round(tango_score(150, 86, 1600, 0.0) ** 2, 2) == 17.36
    low, high = tango_interval(150, 86, 1600)
    assert (round(low, 2), round(high, 2)) == (0.02, 0.06)
    assert mcnemar_p_value(150, 86) < 0.0001


def test_bca_of_a_variance() -> None:
    # Efron and Tibshirani, 1993, section 14.3 and table 14.2: acceleration 0.061, bias correction
    # 0.146, 90 % BCa interval 115.8 to 259.6, percentile interval 100.8 to 233.9. All but the first
    # come from 2,000 resamples drawn by chance there: their ends have a standard error of about 2.
    rows = moments(SPATIAL)
    assert round(float(variance(rows.sum(axis=0))), 1) == 171.5
    assert round(acceleration(rows, variance), 3) == 0.061
    values = bootstrap_values(rows, variance, seed=1, resamples=50_000)
    assert bias_correction(values, 171.534) == pytest.approx(0.146, abs=0.05)
    bca = bootstrap_interval(rows, variance, seed=1, resamples=50_000, confidence=0.9, method="bca")
    assert bca == pytest.approx((115.8, 259.6), abs=4.0)
    percentile = bootstrap_interval(rows, variance, seed=1, resamples=50_000, confidence=0.9)
    assert percentile == pytest.approx((100.8, 233.9), abs=4.0)


def test_permutation() -> None:
    # Fisher, 1935, section 21: of 32,768 exchanges 863 on either side are at least as extreme, 5.267 %.
    rows = np.array([[value, 0] for value in MAIZE], dtype=np.int64)
    found = permutation_p_value(rows, lambda sums: (sums[:, 0] - sums[:, 1]) * 1.0, seed=0)
    assert found == 2 * 863 / 32_768
    assert round(found, 5) == 0.05267


def test_holm() -> None:
    # Wikipedia, Holm-Bonferroni method, example: 0.01, 0.04, 0.03, 0.005 at 0.05; adjusted 0.03, 0.06,
    # 0.06, 0.02, so the first and the last are rejected.
    found = holm_p_values([0.01, 0.04, 0.03, 0.005])
    assert [round(value, 4) for value in found] == [0.03, 0.06, 0.06, 0.02]


def test_benjamini_hochberg() -> None:
    # The four smallest are rejected at 0.05, where Bonferroni and Hochberg reject three.
    found = benjamini_hochberg_p_values(MYOCARDIAL)
    assert sum(value <= 0.05 for value in found) == 4
    assert sum(value <= 0.05 for value in holm_p_values(MYOCARDIAL)) == 3
    assert round(found[3], 6) == round(0.0095 * 15 / 4, 6)


def test_non_inferiority() -> None:
    # Tango, Equivalence Test and Confidence Interval, 1998, section 6: disinfection of 44 contact
    # lenses, 43 by both, 1 by the control alone; margin 0.1: Z = 1.709, 90 % interval -0.096 to 0.037.
    found = proportion_non_inferiority(0, 1, 44, margin=0.1)
    assert round(tango_score(0, 1, 44, -0.1), 3) == 1.709
    assert round(found.p_value, 3) == 0.044
    assert (round(found.low, 3), round(found.high, 3)) == (-0.096, 0.037)
    assert found.is_shown
    assert not proportion_non_inferiority(0, 1, 44, margin=0.1, alpha=0.025).is_shown


def test_interval_of_a_paired_difference() -> None:
    # Airway hyper-responsiveness of 21 children before and after: 1, 1, 7, 12. Fagerland, Lydersen and
    # Laake, Statistical Analysis of Contingency Tables, 2017, chapter 8: Tango's interval is -0.517 to
    # -0.026.
    low, high = tango_interval(1, 7, 21)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


def test_kappa() -> None:
    # Cohen, A Coefficient of Agreement for Nominal Scales, 1960, table 1: 200 persons, kappa 0.49.
    plain = kappa_of(np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]]))
    assert plain is not None
    assert round(plain.value, 2) == 0.49
    # Fleiss, Statistical Methods for Rates and Proportions, 1981, table 13.1: kappa 0.68.
    fleiss = kappa_of(np.array([[75, 1, 4], [5, 4, 1], [0, 0, 10]]))
    assert fleiss is not None
    assert round(fleiss.value, 2) == 0.68


def test_sample_size() -> None:
    # Miller, Adding Error Bars to Evals, 2024, section 5: about 1,000 questions for three points at a
    # power of 80 %, with 1/9 as the variance of differences.
    assert rows_needed(0.03, PowerConfig(1 / 9)) == pytest.approx(1000, rel=0.05)


def test_rouge_l() -> None:
    # Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, section 3.1.
    reference = "police killed the gunman"
    assert rouge_l(reference, "police kill the gunman") == 0.75
    assert rouge_l(reference, "the gunman kill police") == 0.5
