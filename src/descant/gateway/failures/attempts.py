"""Whom to ask for one request, in which order, how often, and when to give up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from descant.gateway.failures.cooldown import DEFAULT_WAIT_S, LEAST_WAIT_S
from descant.gateway.failures.health import Admitted, Candidate, Refused
from descant.gateway.failures.hedging import Hedge
from descant.gateway.failures.outcome import Outcome, Reply, may_come_again, may_go_elsewhere
from descant.gateway.failures.retry_budget import ExtraBudget


@dataclass(frozen=True)
class AttemptRules:
    """Of every request."""

    most_attempts: int = 3
    """Hedges among them."""
    longest_wait_s: float = 5.0
    """All waits of a request for an upstream to return, together."""


class Reason(Enum):
    """Why no further upstream is asked."""

    NO_CANDIDATES = "no_candidates"
    THROTTLED = "throttled"
    """The one to return first holds back because of its limits."""
    UNAVAILABLE = "unavailable"
    """The one to return first is broken."""
    ATTEMPTS_SPENT = "attempts_spent"
    BUDGET_SPENT = "budget_spent"
    OUT_OF_TIME = "out_of_time"
    OVER = "over"
    """It was answered, is wrong in itself, or the caller has seen part of an answer."""


@dataclass(frozen=True, slots=True)
class Try:
    """Ask this one now; goes back to `note`, `release` or `pass_over`, once."""

    candidate: Candidate
    permit: Admitted
    place: int
    """Among the candidates."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again what to do after so many seconds."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the caller to come back after so many seconds."""

    wait_s: float
    reason: Reason
    status: int
    """429, 503 or 504."""


class Attempts:
    """One request's, over candidates in the order in which they should be asked.

    An upstream that says no is left for the next one at once. Only where none admits is the earliest
    to return waited for, and only if it returns within the rules and the caller's deadline.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        tokens: int,
        deadline_s: float,
        budget: ExtraBudget,
        rules: AttemptRules | None = None,
    ):
        """`tokens` is the most the request may use; `budget` is shared by all requests."""
        self._candidates = candidates
        self._tokens = tokens
        self._deadline_s = deadline_s
        self._budget = budget
        self._rules = rules or AttemptRules()
        self._num_attempts = 0
        self._waited_s = 0.0
        self._is_counted = False
        self._is_over = False
        self._last: Outcome | None = None
        self._tried: set[int] = set()
        self._barred: set[int] = set()
        self._held_back_until_s: dict[int, float] = {}

    def next(self, now_s: float) -> Try | Wait | Refuse:
        """Return what to do now."""
        if (reason := self._spent(now_s)) is not None:
            return self._refuse(reason, now_s)
        for place in self._order():
            if (permit := self._permit(place, now_s)) is not None:
                self._count(now_s)
                return self._begin(place, permit)
        return self._wait_or_refuse(now_s)

    def second(self, hedge: Hedge, now_s: float) -> Try | None:
        """Return another candidate to ask beside the silent one, or None: not now."""
        is_spent = self._num_attempts >= self._rules.most_attempts or now_s >= self._deadline_s
        if self._is_over or is_spent or not hedge.is_due(now_s):
            return None
        for place in range(len(self._candidates)):
            if place in self._tried:
                continue
            if (permit := self._permit(place, now_s)) is not None:
                hedge.take(now_s)
                return self._begin(place, permit)
        return None

    def note(self, tried: Try, reply: Reply, now_s: float) -> bool:
        """Note how an attempt ended; return whether another may follow."""
        tried.candidate.health.note(tried.permit, reply, now_s)
        self._last = reply.outcome
        if not may_go_elsewhere(reply.outcome):
            self._is_over = True
        if not may_come_again(reply.outcome):
            self._barred.add(tried.place)
        return not self._is_over

    def first_byte_sent(self) -> None:
        """Note that the caller has seen part of an answer: no other may follow."""
        self._is_over = True

    def release(self, tried: Try) -> None:
        """Note that the caller is gone, or that a hedge's other half was quicker."""
        tried.candidate.health.release(tried.permit)

    def pass_over(self, tried: Try, wait_s: float, now_s: float) -> None:
        """Note that it was not asked after all: a limit of our own holds it back for `wait_s`."""
        tried.candidate.health.release(tried.permit)
        self._num_attempts -= 1
        self._tried.discard(tried.place)
        self._held_back_until_s[tried.place] = now_s + max(LEAST_WAIT_S, wait_s)

    def _spent(self, now_s: float) -> Reason | None:
        if self._is_over:
            return Reason.OVER
        if not self._candidates:
            return Reason.NO_CANDIDATES
        if now_s >= self._deadline_s:
            return Reason.OUT_OF_TIME
        if self._num_attempts >= self._rules.most_attempts:
            return Reason.ATTEMPTS_SPENT
        if self._num_attempts and not self._budget.allows(now_s):
            return Reason.BUDGET_SPENT
        return None

    def _order(self) -> Iterator[int]:
        """Those not asked yet, then the others: one that reset a connection may take the next."""
        places = range(len(self._candidates))
        yield from (place for place in places if place not in self._tried)
        yield from (place for place in places if place in self._tried - self._barred)

    def _permit(self, place: int, now_s: float) -> Admitted | None:
        if now_s < self._held_back_until_s.get(place, now_s):
            return None
        candidate = self._candidates[place]
        answer = candidate.health.admits(candidate.model, self._tokens, now_s)
        return answer if isinstance(answer, Admitted) else None

    def _count(self, now_s: float) -> None:
        if self._num_attempts:
            self._budget.take(now_s)
        elif not self._is_counted:
            self._budget.note_request(now_s)
            self._is_counted = True

    def _begin(self, place: int, permit: Admitted) -> Try:
        self._num_attempts += 1
        self._tried.add(place)
        return Try(self._candidates[place], permit, place)

    def _wait_or_refuse(self, now_s: float) -> Wait | Refuse:
        earliest = self._earliest(self._order(), now_s)
        if earliest is None:
            return self._refuse(Reason.UNAVAILABLE, now_s)
        left_s = self._rules.longest_wait_s - self._waited_s
        if earliest.wait_s <= left_s and now_s + earliest.wait_s < self._deadline_s:
            self._waited_s += earliest.wait_s
            return Wait(earliest.wait_s)
        return self._refuse(
            Reason.THROTTLED if earliest.is_throttled else Reason.UNAVAILABLE, now_s
        )

    def _refuse(self, reason: Reason, now_s: float) -> Refuse:
        earliest = self._earliest(range(len(self._candidates)), now_s)
        wait_s = DEFAULT_WAIT_S if earliest is None else earliest.wait_s
        if reason is Reason.OUT_OF_TIME:
            return Refuse(wait_s, reason, 504)
        throttled = self._last is Outcome.THROTTLED or reason is Reason.THROTTLED
        return Refuse(wait_s, reason, 429 if throttled else 503)

    def _earliest(self, places: Iterable[int], now_s: float) -> Refused | None:
        """Return the shortest refusal, of 0 s if one admits; None if there are no places."""
        refusals = [self._refused(place, now_s) for place in places]
        return min(refusals, key=lambda refused: refused.wait_s, default=None)

    def _refused(self, place: int, now_s: float) -> Refused:
        candidate = self._candidates[place]
        held_s = self._held_back_until_s.get(place, now_s) - now_s
        refused = candidate.health.refusal(candidate.model, self._tokens, now_s)
        if refused is None or refused.wait_s < held_s:
            return Refused(max(0.0, held_s), is_throttled=True)
        return refused
