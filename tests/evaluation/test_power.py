from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.evaluation import (
    PowerConfig,
    detectable_difference,
    mcnemar_p_value,
    non_inferiority_rows,
    plan_power,
    proportion_non_inferiority,
    rows_needed,
)
from descant.evaluation.power import mcnemar_power, paired_power
from descant.schema.errors import InvalidConfig


def test_three_hundred_rows_show_six_points_and_not_three() -> None:
    plan = plan_power(300, PowerConfig(discordance=0.14))
    assert plan.to_text() == (
        "With 300 rows you can see 6.0 points, not 3.0: that takes 1,208 rows."
    )
    assert plan_power(3, PowerConfig(0.1)).to_text() == (
        "With 3 rows you can see no difference at all."
    )


@settings(deadline=None)
@given(st.integers(100, 5000), st.floats(0.02, 0.5))
def test_rows_and_differences_are_each_others_inverse(rows: int, discordance: float) -> None:
    config = PowerConfig(discordance)
    found = detectable_difference(rows, config)
    if found is not None:
        assert rows_needed(found, config) == pytest.approx(rows, abs=1)
        assert paired_power(rows, found, config) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("rows", "difference", "discordance"), [(300, 0.06, 0.14), (150, 0.1, 0.2)]
)
def test_the_formula_is_close_to_the_exact_sum_and_to_trying_it(
    rows: int, difference: float, discordance: float
) -> None:
    config = PowerConfig(discordance)
    exact = mcnemar_power(rows, difference, config)
    assert exact == pytest.approx(paired_power(rows, difference, config), abs=0.06)
    generator = np.random.default_rng(0)
    shares = [(discordance + difference) / 2, (discordance - difference) / 2]
    drawn = generator.multinomial(rows, [*shares, 1 - discordance], size=500)
    tried = np.mean([mcnemar_p_value(int(win), int(loss)) <= 0.05 for win, loss, _ in drawn])
    assert exact == pytest.approx(float(tried), abs=0.06)


def test_rows_for_non_inferiority_give_the_power_they_promise() -> None:
    config = PowerConfig(0.08, power=0.8, two_sided=False)
    rows = non_inferiority_rows(0.03, config)
    drawn = np.random.default_rng(1).multinomial(rows, [0.04, 0.04, 0.92], size=600)
    shown = [
        proportion_non_inferiority(int(win), int(loss), rows, 0.03).is_shown
        for win, loss, _ in drawn
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="discordance"):
        PowerConfig(1.2)
    with pytest.raises(InvalidConfig, match="at most the discordance"):
        rows_needed(0.3, PowerConfig(0.1))
    with pytest.raises(InvalidConfig, match="not so"):
        non_inferiority_rows(0.02, PowerConfig(0.1), gain=-0.05)
