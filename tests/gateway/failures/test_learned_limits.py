from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.learned_limits import LearnedLimit, LearnedLimits
from descant.gateway.failures.stated_limits import StatedLimit

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def learned(limit: int | None, remaining: int | None, reset_s: float | None) -> LearnedLimit:
    subject = LearnedLimit()
    subject.learn(StatedLimit(limit, remaining, reset_s), subject.send(1, 0.0), 0.0)
    return subject


def test_what_cannot_pass_is_held_until_it_can() -> None:
    subject = learned(60_000, 1000, 59.0)
    assert subject.wait_s(1000, 0.0) == 0
    assert subject.wait_s(1500, 0.0) == pytest.approx(0.5)
    assert subject.wait_s(1500, 0.5) == 0


def test_what_was_sent_since_is_taken_off() -> None:
    subject = LearnedLimit()
    first = subject.send(400, 0.0)
    subject.send(700, 0.0)
    subject.learn(StatedLimit(10_000, 1000, None), first, 1.0)
    assert subject.wait_s(300, 1.0) == 0
    assert subject.wait_s(301, 1.0) > 0
    subject.send(300, 1.0)
    assert subject.wait_s(1, 1.0) > 0


def test_an_answer_that_comes_late_does_not_overrule_a_newer_one() -> None:
    subject = LearnedLimit()
    first, second = subject.send(10, 0.0), subject.send(10, 0.0)
    subject.learn(StatedLimit(100, 5, None), second, 1.0)
    subject.learn(StatedLimit(100, 95, None), first, 1.1)
    assert subject.wait_s(6, 1.1) > 0


def test_without_a_reset_nothing_grows_until_it_is_forgotten() -> None:
    subject = learned(100, 0, None)
    assert subject.wait_s(1, 0.0) == 60
    assert subject.wait_s(1, 59.0) == 1
    assert subject.wait_s(1, 60.0) == 0
    assert subject.limit(60.0) is None


def test_more_than_the_whole_limit_waits_for_the_limit_to_change() -> None:
    assert learned(100, 100, 0.0).wait_s(101, 0.0) == 60
    assert learned(None, 7, None).wait_s(8, 0.0) == 60


def test_a_reset_a_day_ahead_is_believed_for_ten_minutes() -> None:
    assert learned(100, 0, 86_400.0).wait_s(1, 0.0) == 600


def openai(limit: int, remaining: int, reset: str) -> dict[str, str]:
    return {
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(remaining),
        "x-ratelimit-reset-tokens": reset,
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
    }


def test_a_shared_pool_that_shrank_wins_over_the_configuration() -> None:
    # Azure lowers the effective limit for a time, and says so in the header alone.
    limits = LearnedLimits()
    marks = limits.send("polite", 100, 0.0)
    limits.learn("polite", openai(30_000, 29_900, "200ms"), marks, 0.0, NOW)
    assert limits.tokens("polite", 200_000, 0.0) == 30_000
    assert limits.tokens("polite", 10_000, 0.0) == 10_000
    assert limits.tokens("polite", None, 0.0) == 30_000
    assert limits.requests("polite", 1000, 0.0) == 500
    assert limits.tokens("other", 200_000, 0.0) == 200_000
    assert limits.tokens("polite", 200_000, 61.0) == 200_000
    assert limits.tokens("polite", None, 61.0) is None


def test_requests_and_tokens_hold_each_for_itself() -> None:
    limits = LearnedLimits()
    headers = openai(30_000, 29_000, "2s") | {"x-ratelimit-remaining-requests": "0"}
    limits.learn("polite", headers, limits.send("polite", 10, 0.0), 0.0, NOW)
    assert limits.wait_s("polite", 1, 0.0) == pytest.approx(0.12 / 500)
    assert limits.wait_s("other", 1, 0.0) == 0


def test_silence_about_limits_limits_nothing() -> None:
    limits = LearnedLimits()
    for _ in range(100):
        limits.learn("own", {}, limits.send("own", 10**9, 0.0), 0.0, NOW)
    assert limits.wait_s("own", 10**9, 0.0) == 0


def test_names_made_up_by_callers_do_not_pile_up() -> None:
    limits = LearnedLimits()
    for number in range(3000):
        limits.send(f"made-up-{number}", 1, 0.0)
    assert len(limits._models) == 1000


class Bucket:
    """An upstream that fills up steadily and tells the truth about it."""

    def __init__(self, limit: int, fill_s: float):
        self.limit, self.fill_s, self.left, self.at_s = limit, fill_s, float(limit), 0.0

    def accepts(self, amount: int, now_s: float) -> bool:
        self.left = min(self.limit, self.left + (now_s - self.at_s) * self.limit / self.fill_s)
        self.at_s = now_s
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def states(self) -> StatedLimit:
        reset_s = (self.limit - self.left) * self.fill_s / self.limit
        return StatedLimit(self.limit, int(self.left), reset_s)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 2.0]), st.integers(1, 120)), max_size=150))
def test_an_upstream_that_tells_the_truth_never_has_to_refuse(
    steps: list[tuple[float, int]],
) -> None:
    upstream, subject, now_s = Bucket(100, 60.0), LearnedLimit(), 0.0
    under_way: list[tuple[int, StatedLimit]] = []
    # One answer makes the limit known; after it, answers lag three requests behind.
    upstream.accepts(1, now_s)
    subject.learn(upstream.states(), subject.send(1, now_s), now_s)
    for pause_s, amount in steps:
        now_s += pause_s
        if subject.limit(now_s) is None or subject.wait_s(amount, now_s) > 0:
            continue
        assert upstream.accepts(amount, now_s)
        under_way.append((subject.send(amount, now_s), upstream.states()))
        if len(under_way) > 3:
            mark, stated = under_way.pop(0)
            subject.learn(stated, mark, now_s)
