from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from descant.gateway.failures.breaker import Breaker, BreakerRules, BreakerState
from descant.gateway.failures.outcome import Outcome

RULES = BreakerRules(
    window_s=10.0, failure_share=0.5, least_outcomes=8, consecutive_failures=4, jitter_share=0.0
)
BAD = [
    Outcome.FAILED,
    Outcome.TIMED_OUT,
    Outcome.GARBAGE,
    Outcome.CUT,
    Outcome.OVERLOADED,
    Outcome.FORBIDDEN,
]


def breaker(rules: BreakerRules = RULES) -> Breaker:
    return Breaker("hosted", rules, random=lambda: 0.5)


def feed(subject: Breaker, outcomes: list[Outcome], now_s: float) -> None:
    for outcome in outcomes:
        subject.end(subject.begin(), outcome, now_s)


@pytest.mark.parametrize("outcome", BAD)
def test_twenty_five_failures_in_a_row_do_not_stay_in_rotation(outcome: Outcome) -> None:
    # LiteLLM #34836.
    subject, num_sent = breaker(), 0
    for _ in range(25):
        if subject.wait_s(1.0) == 0:
            feed(subject, [outcome], 1.0)
            num_sent += 1
    assert num_sent == RULES.consecutive_failures
    assert subject.state(1.0) is BreakerState.OPEN


@pytest.mark.parametrize("outcome", [Outcome.CALLERS_ERROR, Outcome.THROTTLED])
def test_what_is_not_the_upstreams_fault_does_not_open_it(outcome: Outcome) -> None:
    subject = breaker()
    feed(subject, [outcome] * 1000, 1.0)
    assert subject.state(1.0) is BreakerState.CLOSED


def test_errors_of_callers_do_not_hide_an_upstream_that_fails() -> None:
    subject = breaker()
    feed(subject, [Outcome.FAILED, Outcome.CALLERS_ERROR] * 4, 1.0)
    assert subject.state(1.0) is BreakerState.OPEN


def test_it_opens_at_a_share_of_failures_but_not_on_a_few() -> None:
    subject = breaker()
    feed(subject, [Outcome.ANSWERED, Outcome.FAILED] * 3 + [Outcome.ANSWERED], 1.0)
    assert subject.state(1.0) is BreakerState.CLOSED
    feed(subject, [Outcome.FAILED], 1.0)
    assert subject.state(1.0) is BreakerState.OPEN


def test_a_refused_key_opens_it_at_once_for_longer_and_is_named(caplog: Any) -> None:
    subject = breaker()
    with caplog.at_level(logging.WARNING):
        feed(subject, [Outcome.KEY_REFUSED], 1.0)
    assert subject.wait_s(1.0) == RULES.first_denied_pause_s
    assert "hosted" in caplog.text
    assert "key_refused" in caplog.text


def test_one_forbidden_request_closes_nothing_for_the_others() -> None:
    subject = breaker()
    feed(subject, [Outcome.FORBIDDEN], 1.0)
    assert subject.state(1.0) is BreakerState.CLOSED
    feed(subject, [Outcome.FORBIDDEN] * 3, 1.0)
    assert subject.wait_s(1.0) == RULES.first_denied_pause_s


def test_probes_are_few_and_the_first_answer_closes_it() -> None:
    subject = breaker()
    feed(subject, [Outcome.FAILED] * 4, 0.0)
    assert subject.wait_s(0.5) == 1.5
    assert subject.state(2.0) is BreakerState.HALF_OPEN
    first, _second = subject.begin(), subject.begin()
    assert subject.wait_s(2.0) > 0
    subject.release(first)
    assert subject.wait_s(2.0) == 0
    subject.end(subject.begin(), Outcome.ANSWERED, 2.1)
    assert subject.state(2.1) is BreakerState.CLOSED


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    subject, now_s, pauses_s = breaker(), 0.0, []
    feed(subject, [Outcome.FAILED] * 4, now_s)
    for _ in range(8):
        pauses_s.append(subject.wait_s(now_s))
        now_s += pauses_s[-1]
        feed(subject, [Outcome.FAILED], now_s)
    assert pauses_s == [2, 4, 8, 16, 32, 60, 60, 60]


def test_one_that_breaks_again_soon_is_left_alone_longer() -> None:
    subject = breaker()
    feed(subject, [Outcome.FAILED] * 4, 0.0)
    feed(subject, [Outcome.ANSWERED], 2.0)
    feed(subject, [Outcome.FAILED] * 4, 3.0)
    assert subject.wait_s(3.0) == 4
    feed(subject, [Outcome.ANSWERED], 7.0)
    feed(subject, [Outcome.FAILED] * 4, 30.0)
    assert subject.wait_s(30.0) == 2


def test_old_news_changes_nothing() -> None:
    subject = breaker()
    early = [subject.begin() for _ in range(10)]
    feed(subject, [Outcome.FAILED] * 4, 0.0)
    subject.end(early[0], Outcome.ANSWERED, 0.5)
    assert subject.wait_s(0.5) == 1.5
    subject.end(early[1], Outcome.KEY_REFUSED, 0.5)
    assert subject.wait_s(0.5) == 1.5
    feed(subject, [Outcome.ANSWERED], 2.0)
    for era in early[2:]:
        subject.end(era, Outcome.FAILED, 2.1)
    assert subject.state(2.1) is BreakerState.CLOSED


def test_pauses_are_spread() -> None:
    rules = BreakerRules(jitter_share=0.2)
    for drawn, pause_s in ((0.0, 2.0), (1.0, 2.4)):
        subject = Breaker("hosted", rules, random=[drawn].pop)
        feed(subject, [Outcome.FAILED] * 5, 0.0)
        assert subject.wait_s(0.0) == pytest.approx(pause_s)


class SlowBreaker:
    """Keeps every outcome of its era in a list and counts them each time."""

    def __init__(self) -> None:
        self.judged: list[tuple[float, bool]] = []
        self.open_until_s: float | None = None
        self.era = 0
        self.probes: set[int] = set()
        self.num_openings = 0
        self.closed_at_s = 0.0

    def wait_s(self, now_s: float) -> float:
        if self.open_until_s is None:
            return 0.0
        if now_s < self.open_until_s:
            return self.open_until_s - now_s
        return RULES.probe_look_s if len(self.probes) >= RULES.most_probes else 0.0

    def new_era(self) -> None:
        self.era, self.probes, self.judged = self.era + 1, set(), []

    def trip(self, outcome: Outcome, now_s: float) -> None:
        if self.open_until_s is None and now_s - self.closed_at_s > RULES.window_s:
            self.num_openings = 0
        is_denied = outcome in (Outcome.KEY_REFUSED, Outcome.FORBIDDEN)
        first_s, longest_s = (60.0, 600.0) if is_denied else (2.0, 60.0)
        self.open_until_s = now_s + min(longest_s, first_s * 2**self.num_openings)
        self.num_openings += 1
        self.new_era()

    def end(self, ticket: int, era: int, outcome: Outcome, now_s: float) -> None:
        if era != self.era:
            return
        self.probes.discard(ticket)
        if outcome in (Outcome.CALLERS_ERROR, Outcome.THROTTLED):
            return
        is_bad = outcome is not Outcome.ANSWERED
        if self.open_until_s is not None:
            if is_bad:
                self.trip(outcome, now_s)
            else:
                self.open_until_s, self.closed_at_s = None, now_s
                self.new_era()
            return
        self.judged.append((now_s, is_bad))
        in_window = [bad for at_s, bad in self.judged if math.floor(at_s) > math.floor(now_s) - 10]
        in_a_row = [bad for _, bad in self.judged[-4:]] == [True] * 4
        is_share = len(in_window) >= 8 and sum(in_window) >= 0.5 * len(in_window)
        if is_bad and (outcome is Outcome.KEY_REFUSED or in_a_row or is_share):
            self.trip(outcome, now_s)


class BreakerMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.fast, self.slow = breaker(), SlowBreaker()
        self.now_s = 0.0
        self.tickets: list[tuple[int, int]] = []
        self.num_tickets = 0

    @rule(pause_s=st.sampled_from([0.0, 0.3, 1.0, 5.0, 70.0]))
    def let_time_pass(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule(many=st.integers(1, 6))
    def begin(self, many: int) -> None:
        for _ in range(many):
            if self.fast.wait_s(self.now_s) > 0:
                return
            self.num_tickets += 1
            self.tickets.append((self.num_tickets, self.fast.begin()))
            if self.slow.open_until_s is not None:
                self.slow.probes.add(self.num_tickets)

    @rule(outcome=st.sampled_from(list(Outcome)), many=st.integers(1, 6), newest=st.booleans())
    def end(self, outcome: Outcome, many: int, newest: bool) -> None:
        for _ in range(min(many, len(self.tickets))):
            ticket, era = self.tickets.pop(-1 if newest else 0)
            self.fast.end(era, outcome, self.now_s)
            self.slow.end(ticket, era, outcome, self.now_s)

    @rule()
    def release(self) -> None:
        if self.tickets:
            ticket, era = self.tickets.pop()
            self.fast.release(era)
            self.slow.probes.discard(ticket)

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "fast"):
            assert self.fast.wait_s(self.now_s) == self.slow.wait_s(self.now_s)
            assert len(self.slow.probes) <= RULES.most_probes


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAgainstASlowOne = BreakerMachine.TestCase
