from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.cooldown import (
    DEFAULT_WAIT_S,
    LEAST_WAIT_S,
    Cooldown,
    Cooldowns,
    throttled_wait_s,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
STEP = st.tuples(st.floats(0, 20), st.floats(0, 100))


def test_a_second_refusal_without_a_header_does_not_end_it_sooner() -> None:
    # LiteLLM #40130 in both directions: the latest deadline counts, whoever said it.
    cooldown = Cooldown()
    cooldown.extend(throttled_wait_s(429, {"retry-after": "60"}, NOW), 0.0)
    cooldown.extend(throttled_wait_s(429, {}, NOW), 1.0)
    assert cooldown.wait_s(1.0) == 59
    cooldown = Cooldown()
    cooldown.extend(throttled_wait_s(429, {"retry-after": "2"}, NOW), 0.0)
    cooldown.extend(throttled_wait_s(429, {}, NOW), 1.0)
    assert cooldown.wait_s(1.0) == DEFAULT_WAIT_S


def test_at_once_is_a_moment() -> None:
    assert throttled_wait_s(429, {"retry-after": "0"}, NOW) == LEAST_WAIT_S


@given(st.lists(STEP))
def test_nothing_ever_shortens_it(steps: list[tuple[float, float]]) -> None:
    cooldown, now_s, deadlines = Cooldown(), 0.0, [0.0]
    for pause_s, wait_s in steps:
        now_s += pause_s
        cooldown.extend(wait_s, now_s)
        deadlines.append(now_s + wait_s)
        assert now_s + cooldown.wait_s(now_s) >= max(deadlines) - 1e-9
        assert cooldown.wait_s(max(deadlines)) == 0, "and nothing else lengthens it"


def wait_s(cooldowns: Cooldowns, model: str, now_s: float) -> float:
    return max(cooldowns.all_wait_s(now_s), cooldowns.model_wait_s(model, now_s))


def test_one_model_cools_alone_and_the_upstream_cools_all() -> None:
    cooldowns = Cooldowns()
    cooldowns.refuse_model("a", 5, 0.0)
    assert wait_s(cooldowns, "a", 0.0) == 5
    assert wait_s(cooldowns, "b", 0.0) == 0
    cooldowns.refuse_all(3, 0.0)
    assert wait_s(cooldowns, "a", 0.0) == 5
    assert wait_s(cooldowns, "b", 0.0) == 3


def test_however_many_models_are_refused_none_is_let_through_early() -> None:
    cooldowns = Cooldowns()
    names = [f"model-{number}" for number in range(1500)]
    for name in names:
        cooldowns.refuse_model(name, 30, 0.0)
    assert all(wait_s(cooldowns, name, 29.0) == 1 for name in names)
    assert len(cooldowns._models) <= 1000
    cooldowns.refuse_model("later", 30, 40.0)
    assert len(cooldowns._models) == 1, "those that ended have gone"
