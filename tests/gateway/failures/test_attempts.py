from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.gateway.failures import (
    AttemptRules,
    Attempts,
    BudgetRules,
    Candidate,
    ExtraBudget,
    Hedge,
    HedgeRules,
    Hedging,
    Outcome,
    Reason,
    Refuse,
    Reply,
    Try,
    UpstreamHealth,
    Wait,
    outcome_of_status,
    retry_headers,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FAILED = Reply(Outcome.FAILED)
ANSWERED = Reply(Outcome.ANSWERED, 200)


def candidates(*names: str) -> list[Candidate]:
    return [
        Candidate(UpstreamHealth(name, random=lambda: 0.5, utc_now=lambda: NOW), "polite")
        for name in names
    ]


def attempts(
    places: list[Candidate], deadline_s: float = 100.0, budget: ExtraBudget | None = None
) -> Attempts:
    return Attempts(places, 100, deadline_s, budget or ExtraBudget(BudgetRules()))


def tried(subject: Attempts, now_s: float) -> Try:
    decision = subject.next(now_s)
    assert isinstance(decision, Try)
    return decision


def refused(subject: Attempts, now_s: float) -> Refuse:
    decision = subject.next(now_s)
    assert isinstance(decision, Refuse)
    return decision


def throttled(wait_s: float | None) -> Reply:
    headers = {} if wait_s is None else {"retry-after": str(wait_s)}
    return Reply(Outcome.THROTTLED, 429, headers)


def throttle(place: Candidate, wait_s: float | None, now_s: float = 0.0) -> None:
    subject = attempts([place])
    subject.note(tried(subject, now_s), throttled(wait_s), now_s)


def test_the_next_is_asked_at_once_in_the_order_given() -> None:
    places = candidates("reserved", "hosted", "last")
    subject = attempts(places)
    first = tried(subject, 0.0)
    assert first.candidate is places[0]
    assert subject.note(first, throttled(30), 0.0)
    second = tried(subject, 0.0)
    assert second.candidate is places[1]
    assert not subject.note(second, ANSWERED, 0.4)
    assert tried(attempts(places), 1.0).candidate is places[1], "the first still cools down"


def test_when_all_cool_down_the_first_to_return_is_waited_for() -> None:
    # LiteLLM #3646: the request failed instead.
    places = candidates("a", "b")
    throttle(places[0], 30)
    throttle(places[1], 2)
    subject = attempts(places)
    assert subject.next(0.0) == Wait(2.0)
    assert tried(subject, 2.0).candidate is places[1]


def test_but_not_beyond_the_callers_deadline() -> None:
    places = candidates("a")
    throttle(places[0], 2)
    assert refused(attempts(places, deadline_s=1.5), 0.0) == Refuse(2.0, Reason.THROTTLED, 429)


def test_and_not_for_long_with_a_connection_held() -> None:
    places = candidates("a")
    throttle(places[0], 60)
    assert refused(attempts(places), 0.0) == Refuse(60.0, Reason.THROTTLED, 429)


def test_waits_add_up_to_the_cap() -> None:
    places = candidates("a")
    throttle(places[0], 3)
    subject = attempts(places)
    assert subject.next(0.0) == Wait(3.0)
    throttle(places[0], 3, 3.0)
    assert refused(subject, 3.0).wait_s == 3


def test_each_upstream_cools_for_as_long_as_it_said_itself() -> None:
    # LiteLLM #5358.
    places = candidates("a", "b")
    throttle(places[0], 4)
    throttle(places[1], 40)
    subject = attempts(places)
    assert subject.next(0.0) == Wait(4.0)
    assert tried(subject, 4.0).candidate is places[0]
    assert attempts([places[1]]).next(4.0) == Refuse(36.0, Reason.THROTTLED, 429)


def test_a_cooldown_holds_at_every_moment_and_not_every_ten_seconds() -> None:
    # LiteLLM #34836, second half.
    places = candidates("a")
    throttle(places[0], 60)
    for tenth in range(600):
        assert isinstance(attempts(places, deadline_s=1e9).next(tenth / 10), Wait | Refuse)
    assert isinstance(attempts(places).next(60.0), Try)


def test_one_that_fails_25_times_is_left_and_another_answers() -> None:
    # LiteLLM #34836, first half.
    places = candidates("broken", "sound")
    num_broken = 0
    for _ in range(25):
        subject = attempts(places)
        decision = tried(subject, 0.0)
        while decision.candidate is places[0]:
            num_broken += 1
            subject.note(decision, Reply(Outcome.FAILED, 500), 0.0)
            decision = tried(subject, 0.0)
        subject.note(decision, ANSWERED, 0.0)
    assert num_broken == 5


def test_the_gateways_own_refusal_says_when_to_come_back() -> None:
    # LiteLLM #27823, #27825, #27826: only prose did.
    places = candidates("a", "b")
    throttle(places[0], 90)
    throttle(places[1], 31)
    decision = refused(attempts(places), 0.5)
    assert decision.status == 429
    assert retry_headers(decision.wait_s) == {"retry-after": "31", "retry-after-ms": "30500"}


def test_an_order_by_load_honours_what_an_upstream_asked_for() -> None:
    # LiteLLM #7669: routing by usage failed at once and paid no heed to it.
    places = candidates("least-used", "busier")
    throttle(places[0], 20)
    subject = attempts(places)
    assert tried(subject, 0.0).candidate is places[1]


def test_three_attempts_and_no_more() -> None:
    subject = attempts(candidates("a", "b", "c", "d"))
    for _ in range(3):
        subject.note(tried(subject, 0.0), FAILED, 0.0)
    assert refused(subject, 0.0) == Refuse(0.0, Reason.ATTEMPTS_SPENT, 503)


def test_a_reset_connection_is_tried_again_at_the_only_upstream() -> None:
    places = candidates("only")
    subject = attempts(places)
    assert subject.note(tried(subject, 0.0), FAILED, 0.0)
    assert tried(subject, 0.0).candidate is places[0]


@pytest.mark.parametrize("outcome", [Outcome.KEY_REFUSED, Outcome.FORBIDDEN, Outcome.TIMED_OUT])
def test_some_failures_are_not_tried_again_at_the_same_one(outcome: Outcome) -> None:
    subject = attempts(candidates("only"))
    subject.note(tried(subject, 0.0), Reply(outcome), 0.0)
    assert refused(subject, 0.0).reason is Reason.UNAVAILABLE


def test_never_after_the_first_byte_and_never_for_a_callers_error() -> None:
    subject = attempts(candidates("a", "b"))
    first = tried(subject, 0.0)
    subject.first_byte_sent()
    assert not subject.note(first, Reply(Outcome.CUT, 200), 1.0)
    assert refused(subject, 1.0).reason is Reason.OVER
    subject = attempts(candidates("a", "b"))
    assert not subject.note(tried(subject, 0.0), Reply(Outcome.CALLERS_ERROR, 400), 0.0)
    assert refused(subject, 0.0).reason is Reason.OVER


def test_a_spent_budget_refuses_the_second_attempt_alone() -> None:
    budget = ExtraBudget(BudgetRules(share=0.1, least=0))
    subject = attempts(candidates("a", "b"), budget=budget)
    subject.note(tried(subject, 0.0), throttled(30), 0.0)
    assert refused(subject, 0.0) == Refuse(0.0, Reason.BUDGET_SPENT, 429)


def test_while_everything_fails_a_tenth_is_asked_twice() -> None:
    budget = ExtraBudget(BudgetRules(share=0.1, least=2))
    num_extra = 0
    for _ in range(100):
        subject = attempts(candidates("a", "b"), budget=budget)
        subject.note(tried(subject, 0.0), FAILED, 0.0)
        while isinstance(decision := subject.next(0.0), Try):
            num_extra += 1
            subject.note(decision, FAILED, 0.0)
        assert isinstance(decision, Refuse)
        assert decision.reason in (Reason.BUDGET_SPENT, Reason.ATTEMPTS_SPENT)
    assert num_extra == 10


def test_no_candidate_and_no_time() -> None:
    assert refused(attempts([]), 0.0) == Refuse(10.0, Reason.NO_CANDIDATES, 503)
    late = refused(attempts(candidates("a"), deadline_s=1.0), 1.0)
    assert (late.reason, late.status) == (Reason.OUT_OF_TIME, 504)


def test_a_limit_of_our_own_passes_an_upstream_over_without_an_attempt() -> None:
    places = candidates("full", "free")
    subject = attempts(places)
    for now_s in (0.0, 0.5, 1.0):
        first = tried(subject, now_s)
        subject.pass_over(first, 0.3, now_s)
    assert tried(subject, 1.0).candidate is places[1]
    alone = attempts(places[:1])
    alone.pass_over(tried(alone, 0.0), 3.0, 0.0)
    assert alone.next(0.0) == Wait(3.0)
    assert isinstance(alone.next(3.0), Try)


def late_hedge(now_s: float) -> Hedge:
    hedging = Hedging(HedgeRules(share=1.0))
    for _ in range(50):
        hedging.note_first_byte(0.2)
    return hedging.begin(now_s)


def test_a_hedge_asks_another_upstream_once_it_is_late() -> None:
    places = candidates("silent", "quick")
    subject, hedge = attempts(places), late_hedge(0.0)
    first = tried(subject, 0.0)
    assert subject.second(hedge, 0.1) is None
    second = subject.second(hedge, 1.0)
    assert second is not None
    assert second.candidate is places[1]
    assert subject.second(hedge, 1.0) is None
    subject.release(first)
    assert not subject.note(second, ANSWERED, 1.2)


def test_a_hedge_is_one_of_the_three_attempts_and_never_the_same_upstream() -> None:
    places = candidates("only")
    subject = attempts(places)
    tried(subject, 0.0)
    assert subject.second(late_hedge(0.0), 1.0) is None
    places = candidates("a", "b", "c", "d")
    subject = attempts(places)
    for _ in range(2):
        subject.note(tried(subject, 0.0), FAILED, 0.0)
    tried(subject, 0.0)
    assert subject.second(late_hedge(0.0), 1.0) is None


def test_a_hedge_comes_not_after_the_first_byte() -> None:
    subject = attempts(candidates("a", "b"))
    tried(subject, 0.0)
    subject.first_byte_sent()
    assert subject.second(late_hedge(0.0), 1.0) is None


STEP = st.tuples(
    st.sampled_from([0.0, 0.0, 0.05, 1.0, 7.0]),
    st.sampled_from(["new", "new", "end", "end", "wake"]),
    st.sampled_from([200, 200, 400, 401, 429, 429, 500, 503]),
    st.sampled_from([None, 0.5, 3.0, 40.0]),
)


class Traffic:
    """Many requests at once over three upstreams, with a record of what each upstream asked for."""

    def __init__(self, rules: BudgetRules):
        self.places = candidates("a", "b", "c")
        self.budget = ExtraBudget(rules)
        self.closed_until_s = dict.fromkeys("abc", 0.0)
        self.under_way: list[tuple[Attempts, Try, int]] = []
        self.waiting: list[tuple[Attempts, float, int]] = []
        self.num_requests = 0
        self.num_extra = 0

    def new(self, now_s: float) -> None:
        self.go_on(Attempts(self.places, 10, now_s + 20.0, self.budget), 0, now_s)

    def go_on(self, subject: Attempts, num_made: int, now_s: float) -> None:
        decision = subject.next(now_s)
        if isinstance(decision, Wait):
            assert 0 < decision.wait_s <= AttemptRules().longest_wait_s
            self.waiting.append((subject, now_s + decision.wait_s + 1e-6, num_made))
        if not isinstance(decision, Try):
            return
        assert num_made < 3
        assert now_s >= self.closed_until_s[decision.candidate.health.name] - 1e-9
        self.num_requests += num_made == 0
        self.num_extra += num_made > 0
        self.under_way.append((subject, decision, num_made + 1))

    def end(self, status: int, wait_s: float | None, now_s: float) -> None:
        if not self.under_way:
            return
        subject, attempt, num_made = self.under_way.pop(0)
        headers = {} if wait_s is None else {"retry-after-ms": str(int(wait_s * 1000))}
        may_go_on = subject.note(attempt, Reply(outcome_of_status(status), status, headers), now_s)
        self.remember(attempt.candidate.health.name, status, wait_s, now_s)
        assert may_go_on == (status not in (200, 400))
        if may_go_on:
            self.go_on(subject, num_made, now_s)

    def remember(self, name: str, status: int, wait_s: float | None, now_s: float) -> None:
        if status == 429 or (status > 400 and wait_s is not None):
            held_s = 10.0 if wait_s is None else wait_s
            self.closed_until_s[name] = max(self.closed_until_s[name], now_s + held_s)

    def wake(self, now_s: float) -> None:
        due = [entry for entry in self.waiting if entry[1] <= now_s]
        self.waiting = [entry for entry in self.waiting if entry[1] > now_s]
        for subject, _, num_made in due:
            self.go_on(subject, num_made, now_s)


@settings(deadline=None)
@given(st.lists(STEP, max_size=200))
def test_no_interleaving_enters_a_window_or_passes_the_budget(
    steps: list[tuple[float, str, int, float | None]],
) -> None:
    # The window is longer than the run, so its counts are those of the whole run.
    traffic, now_s = Traffic(BudgetRules(share=0.1, least=3, window_s=1e6)), 0.0
    for pause_s, kind, status, wait_s in steps:
        now_s += pause_s
        if kind == "new":
            traffic.new(now_s)
        elif kind == "end":
            traffic.end(status, wait_s, now_s)
        else:
            traffic.wake(now_s)
        assert traffic.num_extra <= max(3, 0.1 * traffic.num_requests)
