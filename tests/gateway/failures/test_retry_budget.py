from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.retry_budget import BudgetRules, ExtraBudget

RULES = BudgetRules(share=0.1, least=2, window_s=10.0)
STEPS = st.lists(
    st.tuples(st.sampled_from(["request", "request", "extra"]), st.sampled_from([0.0, 0.1, 1.5])),
    max_size=200,
)


def test_a_quiet_gateway_may_retry_at_all() -> None:
    budget = ExtraBudget(RULES)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    assert budget.take(11.0)


def test_a_busy_one_retries_a_tenth() -> None:
    budget = ExtraBudget(RULES)
    for _ in range(1000):
        budget.note_request(5.0)
    assert sum(budget.take(5.0) for _ in range(1000)) == 100


@given(STEPS)
def test_extra_attempts_never_pass_the_budget(steps: list[tuple[str, float]]) -> None:
    budget, now_s = ExtraBudget(RULES), 0.0
    requests_s: list[float] = []
    extra_s: list[float] = []
    for kind, pause_s in steps:
        now_s += pause_s
        if kind == "request":
            budget.note_request(now_s)
            requests_s.append(now_s)
            continue
        in_window = [
            sum(int(at_s) > int(now_s) - 10 for at_s in times) for times in (requests_s, extra_s)
        ]
        fits = in_window[1] + 1 <= max(RULES.least, RULES.share * in_window[0])
        assert budget.allows(now_s) == fits
        assert budget.take(now_s) == fits
        if fits:
            extra_s.append(now_s)
    # Over the whole of it, too: each window's extras lie within its own share.
    num_windows = 1 + now_s / 9
    assert len(extra_s) <= RULES.share * len(requests_s) + RULES.least * num_windows
