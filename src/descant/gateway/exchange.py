"""Asks upstreams for one call until one of them answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from descant.gateway.call import Call
from descant.gateway.contents import Contents
from descant.gateway.failures import (
    AttemptRules,
    Attempts,
    BudgetRules,
    ExtraBudget,
    Hedge,
    HedgeRules,
    Hedging,
    Reason,
    Refuse,
    Try,
    Wait,
)
from descant.gateway.failures import Candidate as Standing
from descant.gateway.limits import Limits
from descant.gateway.racing import Race
from descant.gateway.reply import AnyReply, Tally, WholeReply
from descant.gateway.routing import Candidate, Router
from descant.gateway.upstream import Upstream
from descant.gateway.visit import HeldBack, Trip, Visit, VisitFailed
from descant.gateway.watching import RequestSpan
from descant.schema.errors import DeadlineExceeded, InputError, UpstreamsBusy

_REMEMBERED = 1024
"""Names of models come from callers: without a bound they would fill the memory."""
_LEAST_WAIT_S = 1.0

_WORDS = {
    Reason.NO_CANDIDATES: "No upstream is left to be asked",
    Reason.THROTTLED: "Every upstream is at its limit",
    Reason.UNAVAILABLE: "No upstream can be reached",
    Reason.ATTEMPTS_SPENT: "The upstreams that were asked failed",
    Reason.BUDGET_SPENT: "The upstream that was asked failed, and too many others are asked again",
    Reason.OUT_OF_TIME: "The time was over before an upstream could be asked",
    Reason.OVER: "The upstream that was asked gave no answer",
}


@dataclass
class Patience:
    """What all calls share of second attempts; it outlives a change of the settings."""

    extra: ExtraBudget = field(default_factory=lambda: ExtraBudget(BudgetRules()))
    hedging: dict[str, Hedging] = field(default_factory=dict)
    """By model and share; only of routes that hedge."""

    def hedge(self, model: str, share: float, now_s: float) -> Hedge | None:
        """Return when a second upstream may be asked; None on routes that never do."""
        if not share:
            return None
        key = f"{model}\n{share}"
        if key not in self.hedging:
            if len(self.hedging) >= _REMEMBERED:
                del self.hedging[next(iter(self.hedging))]
            self.hedging[key] = Hedging(HedgeRules(share))
        return self.hedging[key].begin(now_s)


@dataclass(frozen=True)
class Means:
    """What answers are got with, under one version of the settings."""

    fleet: Mapping[str, Upstream]
    router: Router
    limits: Limits
    patience: Patience
    contents: Contents
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rules: AttemptRules = AttemptRules()


class Exchange:
    """Asks upstreams, one after another."""

    def __init__(self, means: Means):
        self._means = means

    async def ask(self, call: Call, tally: Tally, span: RequestSpan) -> AnyReply:
        """Return the first answer there is.

        Raises:
            DeadlineExceeded: the caller's time is over.
            UpstreamsBusy: none takes the request, or those that did failed; says when to come back.
            InputError: no upstream has that model, or words for what is asked.
        """
        errand = _Errand(self._means, call, tally, span)
        left_s = call.deadline_s - self._means.clock()
        try:
            async with asyncio.timeout(left_s):
                return await errand.run()
        except TimeoutError as error:
            message = f"There was no answer within {call.deadline_s - call.received_s:g} s."
            raise DeadlineExceeded(message) from error


class _Errand:
    """One call's way from upstream to upstream."""

    def __init__(self, means: Means, call: Call, tally: Tally, span: RequestSpan):
        self._means = means
        self._call, self._tally, self._span = call, tally, span
        self._routed = means.router.candidates(call)
        self._attempts = Attempts(
            [Standing(means.fleet[each.upstream].health, each.model) for each in self._routed],
            call.most_tokens,
            call.deadline_s,
            means.patience.extra,
            means.rules,
        )
        self._said: WholeReply | None = None
        """What the last upstream said instead of an answer."""
        self._unsaid: InputError | None = None
        """Why the last upstream could not even be asked."""

    async def run(self) -> AnyReply:
        means = self._means
        share = means.router.route(self._call.model).hedge_share
        hedge: Hedge | None = None
        while True:
            step = self._attempts.next(means.clock())
            if isinstance(step, Wait):
                await means.sleep(step.wait_s)
            elif isinstance(step, Refuse):
                return self._refuse(step)
            else:
                # What was waited for before the first is asked does not make it late.
                hedge = hedge or means.patience.hedge(self._call.model, share, means.clock())
                reply = await self._try(step, hedge)
                if reply is not None:
                    return reply

    async def _try(self, tried: Try, hedge: Hedge | None) -> AnyReply | None:
        num_asked = self._tally.attempts
        if hedge is None or hedge.due_s is None:
            reply = await self._visit(tried, self._tally)
        else:
            reply = await self._race(tried, hedge)
        if hedge is not None and self._tally.attempts > num_asked:
            hedge.first_byte(self._means.clock())
        return reply

    async def _visit(self, tried: Try, tally: Tally) -> AnyReply | None:
        """Return the answer, the upstream's word that the request is wrong, or None: go on."""
        means, candidate = self._means, self._routed[tried.place]
        trip = Trip(
            self._call,
            means.fleet[candidate.upstream],
            candidate,
            self._attempts,
            tried,
            tally,
            self._span,
        )
        try:
            return await Visit(trip, means.router, means.limits, means.clock).answer()
        except HeldBack:
            return None
        except InputError as error:
            # Another upstream may have words for it.
            self._unsaid = error
            return None
        except VisitFailed as failure:
            self._note(failure, candidate)
            return None

    async def _race(self, first: Try, hedge: Hedge) -> AnyReply | None:
        """Ask a second upstream if the first one's first byte is late; the quicker one answers."""
        race = Race(self._visit, self._tally.timings)
        try:
            race.enter(first)
            if not await race.has_ended((hedge.due_s or 0.0) - self._means.clock()):
                second = self._attempts.second(hedge, self._means.clock())
                if second is not None:
                    race.enter(second)
            reply = await race.winner()
        finally:
            await race.close(self._tally)
        return None if reply is None else await race.told(reply, self._tally)

    def _note(self, failure: VisitFailed, candidate: Candidate) -> None:
        status = failure.reply.status
        if failure.body is not None and status is not None:
            self._said = WholeReply(status, failure.body, None, candidate.upstream)

    def _refuse(self, refuse: Refuse) -> WholeReply:
        """Return what the upstream says is wrong with the request, else say when to come back."""
        if refuse.reason is Reason.OVER and self._said is not None:
            return self._said
        if self._unsaid is not None:
            raise self._unsaid
        if refuse.reason is Reason.OUT_OF_TIME:
            raise DeadlineExceeded(f"{_WORDS[refuse.reason]}.")
        raise UpstreamsBusy(*_when(refuse), refuse.status)


def _when(refuse: Refuse) -> tuple[str, float]:
    """Return what is said of a refusal, and after how long to come again."""
    if math.isinf(refuse.wait_s):
        return (
            "This request alone is larger than any upstream may be sent. Make it smaller.",
            math.inf,
        )
    wait_s = max(refuse.wait_s, _LEAST_WAIT_S)
    return f"{_WORDS[refuse.reason]}. Send it again in {math.ceil(wait_s)} s.", wait_s
