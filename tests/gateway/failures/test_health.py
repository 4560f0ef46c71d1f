from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures import (
    Admitted,
    BreakerState,
    Candidate,
    Outcome,
    Refused,
    Reply,
    UpstreamHealth,
    earliest_return_s,
    outcome_of_status,
    retry_headers,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def health(name: str = "hosted") -> UpstreamHealth:
    return UpstreamHealth(name, random=lambda: 0.5, utc_now=lambda: NOW)


def answer(subject: UpstreamHealth, status: int, now_s: float, headers: dict[str, str]) -> None:
    permit = subject.admits("polite", 100, now_s)
    assert isinstance(permit, Admitted)
    subject.note(permit, Reply(outcome_of_status(status), status, headers), now_s)


def wait_s(subject: UpstreamHealth, model: str, now_s: float) -> float:
    refused = subject.refusal(model, 100, now_s)
    return 0.0 if refused is None else refused.wait_s


def test_a_throttled_model_cools_alone() -> None:
    subject = health()
    answer(subject, 429, 0.0, {"retry-after": "7"})
    assert wait_s(subject, "polite", 0.0) == 7
    assert wait_s(subject, "other", 0.0) == 0


def test_a_success_of_an_earlier_request_does_not_shorten_a_cooldown() -> None:
    subject = health()
    early = subject.admits("polite", 100, 0.0)
    assert isinstance(early, Admitted)
    answer(subject, 429, 0.0, {"retry-after": "30"})
    subject.note(early, Reply(Outcome.ANSWERED, 200, {}), 1.0)
    assert wait_s(subject, "polite", 1.0) == 29


@pytest.mark.parametrize("status", [401, 500, 503, 529])
def test_what_an_upstream_in_trouble_asks_for_holds_for_all_of_it(status: int) -> None:
    subject = health()
    answer(subject, status, 0.0, {"retry-after": "100"})
    assert wait_s(subject, "other", 0.0) >= 100


def test_a_callers_error_holds_nothing_back() -> None:
    subject = health()
    answer(subject, 413, 0.0, {"retry-after": "100"})
    assert wait_s(subject, "polite", 0.0) == 0


def test_a_refusal_names_its_kind() -> None:
    throttled, broken = health(), health()
    answer(throttled, 429, 0.0, {})
    refused = throttled.admits("polite", 100, 0.0)
    assert refused == Refused(10.0, is_throttled=True)
    answer(broken, 503, 0.0, {"retry-after": "30"})
    assert broken.admits("polite", 100, 0.0) == Refused(30.0, is_throttled=False)


def test_no_connection_counts_though_there_is_no_status() -> None:
    subject = health()
    for _ in range(5):
        permit = subject.admits("polite", 100, 0.0)
        assert isinstance(permit, Admitted)
        subject.note(permit, Reply(Outcome.FAILED), 0.0)
    assert subject.breaker.state(0.0) is BreakerState.OPEN


def test_a_permit_that_is_released_gives_its_probe_back() -> None:
    subject = health()
    answer(subject, 401, 0.0, {})
    later_s = wait_s(subject, "polite", 0.0)
    for _ in range(100):
        permit = subject.admits("polite", 100, later_s)
        assert isinstance(permit, Admitted)
        subject.release(permit)


def test_the_earliest_to_return_is_what_a_caller_is_told() -> None:
    slow, quick = health(), health()
    answer(slow, 429, 0.0, {"retry-after": "60"})
    answer(quick, 429, 0.0, {"retry-after-ms": "1250"})
    both = [Candidate(slow, "polite"), Candidate(quick, "polite")]
    assert earliest_return_s(both, 100, 0.0) == 1.25
    assert earliest_return_s([*both, Candidate(health(), "polite")], 100, 0.0) == 0
    assert earliest_return_s([], 100, 0.0) is None
    assert retry_headers(1.25) == {"retry-after": "2", "retry-after-ms": "1250"}
    assert retry_headers(0.0) == {"retry-after": "1", "retry-after-ms": "1"}


def stated(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"retry-after-ms": str(round(seconds * 1000))}


STEP = st.tuples(
    st.sampled_from([0.0, 0.2, 1.0, 9.0, 61.0]),
    st.sampled_from(["begin", "begin", "end", "release"]),
    st.sampled_from([200, 400, 401, 429, 500, 503]),
    st.sampled_from([None, 0.5, 3.0, 40.0]),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(STEP, max_size=120))
def test_no_interleaving_lets_a_request_into_a_retry_after_window(
    steps: list[tuple[float, str, int, float | None, str]],
) -> None:
    subject, now_s = health(), 0.0
    under_way: list[Admitted] = []
    windows_s: dict[str, float] = {"a": 0.0, "b": 0.0}
    for pause_s, kind, status, seconds, model in steps:
        now_s += pause_s
        if kind == "begin":
            permit = subject.admits(model, 10, now_s)
            if isinstance(permit, Admitted):
                assert now_s >= windows_s[model] - 1e-9
                under_way.append(permit)
            else:
                assert permit.wait_s > 0
        elif under_way:
            ended = under_way.pop(0)
            if kind == "release":
                subject.release(ended)
                continue
            subject.note(ended, Reply(outcome_of_status(status), status, stated(seconds)), now_s)
            if status == 429:
                held_s = 10.0 if seconds is None else seconds
                windows_s[ended.model] = max(windows_s[ended.model], now_s + held_s)
            elif status > 400 and seconds is not None:
                windows_s = {name: max(end_s, now_s + seconds) for name, end_s in windows_s.items()}


@given(st.lists(STEP, max_size=60))
def test_a_stated_wait_is_true_if_nothing_else_happens(
    steps: list[tuple[float, str, int, float | None, str]],
) -> None:
    subject, now_s = health(), 0.0
    for pause_s, _, status, seconds, model in steps:
        now_s += pause_s
        permit = subject.admits(model, 10, now_s)
        if isinstance(permit, Refused):
            continue
        subject.note(permit, Reply(outcome_of_status(status), status, stated(seconds)), now_s)
    for model in ("a", "b"):
        refused = subject.refusal(model, 10, now_s)
        if refused is not None:
            assert subject.refusal(model, 10, now_s + 0.9 * refused.wait_s) is not None
            assert subject.refusal(model, 10, now_s + refused.wait_s + 1e-6) is None
