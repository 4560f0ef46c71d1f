"""Whatever is asked in whatever order, the answers are those of a list of all entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from descant.gateway.limits import Amounts, Budget, Claim, Rate, Refusal, Reservation
from tests.gateway.limits.places import LEASE_S, START_US, Place
from tests.gateway.limits.twin import Held, Twin, start

CLAIMS = (
    Claim("key:a", (Rate("requests", 4), Rate("tokens", 100)), 3, (Budget("day", 60),)),
    Claim("tenant:b", (Rate("tokens", 150),), None, (Budget("month", 90),)),
    Claim("model:c", (), 2),
    Claim(
        "upstream:d",
        (
            Rate("requests", 60),
            Rate("tokens", 300),
            Rate("requests", 1, 1_000_000, is_burst=True),
            Rate("tokens", 50, 10_000_000, is_burst=True),
        ),
    ),
)
AMOUNTS = st.builds(
    Amounts, requests=st.just(1), tokens=st.integers(0, 110), money_nano=st.integers(0, 40)
)
ANY_CLAIMS = st.lists(st.sampled_from(CLAIMS), unique=True).map(tuple)
SECONDS = st.one_of(
    st.floats(0, 0.7),
    st.sampled_from([0.3, 0.6, 1.0, 10.1, 59.4, 60.0, 60.6, LEASE_S, 86_400.0, 31 * 86_400.0]),
)


class AnswersOfBoth(RuleBasedStateMachine):
    new_place: ClassVar[Callable[[], Place]]

    def __init__(self) -> None:
        super().__init__()
        self.place = type(self).new_place()
        self.twin = Twin(int(LEASE_S * 1e6), START_US)
        self.made: list[tuple[Reservation, Held]] = []

    @initialize(passed_s=SECONDS)
    def begin(self, passed_s: float) -> None:
        self.wait(passed_s)

    @rule(passed_s=SECONDS)
    def wait(self, passed_s: float) -> None:
        self.twin.now_us += int(passed_s * 1e6)
        self.place.set_clock(self.twin.now_us)

    @rule(claims=ANY_CLAIMS, most=AMOUNTS)
    def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> None:
        answer = self.place.do(self.place.limits.reserve(claims, most))
        expected = self.twin.reserve(claims, most)
        if isinstance(expected, Held):
            assert isinstance(answer, Reservation)
            self.made.append((answer, expected))
        else:
            assert isinstance(answer, Refusal)
            scope, kind, wait_s = expected
            assert (answer.scope, answer.kind) == (scope, kind)
            assert answer.wait_s == pytest.approx(wait_s, abs=2e-6)
        minutes = [(claim, rate) for claim in claims for rate in claim.rates if not rate.is_burst]
        assert [room.left for room in answer.rooms] == [
            rate.limit - self.twin.taken(claim.scope, rate) for claim, rate in minutes
        ]

    @rule(which=st.integers(0, 30), used=AMOUNTS)
    def settle(self, which: int, used: Amounts) -> None:
        if self.made:
            reservation, held = self.made[which % len(self.made)]
            if held.is_settled and self._has_lapsed(held):
                return  # Nobody remembers that long whether it was settled.
            self.place.do(self.place.limits.settle(reservation, used))
            self.twin.end(held, used)

    @rule(which=st.integers(0, 30))
    def release(self, which: int) -> None:
        if self.made:
            reservation, held = self.made[which % len(self.made)]
            self.place.do(self.place.limits.release(reservation))
            self.twin.end(held, Amounts(0, 0, 0))

    @rule(claim=st.sampled_from(CLAIMS[:2]), nano=st.integers(0, 100))
    def seed(self, claim: Claim, nano: int) -> None:
        period = claim.budgets[0].period
        first = start(self.twin._now(), period)
        self.place.do(self.place.limits.seed(claim.scope, period, first, nano))
        self.twin.seed(claim.scope, period, nano)

    def teardown(self) -> None:
        self.place.close()

    def _has_lapsed(self, held: Held) -> bool:
        return held.taken_us + self.twin.lease_us <= self.twin.now_us


def test_every_answer_is_the_twins(
    new_place: Callable[[], Place], request: pytest.FixtureRequest
) -> None:
    is_redis = "redis" in request.node.callspec.id
    run_state_machine_as_test(
        type("OfThisPlace", (AnswersOfBoth,), {"new_place": staticmethod(new_place)}),
        settings=settings(
            max_examples=40 if is_redis else 60,
            stateful_step_count=40,
            deadline=None,
            # Every step costs Redis a round trip: a failure is shown as it was found.
            phases=[Phase.explicit, Phase.generate] if is_redis else list(Phase),
            suppress_health_check=list(HealthCheck),
        ),
    )
