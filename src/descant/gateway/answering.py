"""One admitted call → its reply: who answers, canary or not, and which limits it keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from descant.gateway.books import Books, Entry
from descant.gateway.cache import CachePlan
from descant.gateway.caching import Caching
from descant.gateway.call import Call, Usage
from descant.gateway.cascading import Cascading
from descant.gateway.claims import Claims
from descant.gateway.exchange import Exchange, Means
from descant.gateway.limits import Amounts, Claim
from descant.gateway.reply import AnyReply, Tally
from descant.gateway.watching import RequestSpan


@dataclass(frozen=True)
class Errand:
    """What a request's headers say beside the call itself."""

    cache_control: str | None
    span: RequestSpan


class Answering:
    """Answers calls under one version of the settings."""

    def __init__(
        self,
        means: Means,
        claims: Claims,
        books: Books,
        caching: Caching,
        cascading: Cascading,
    ):
        self._means = means
        self._claims = claims
        self._books = books
        self._caching = caching
        self._cascading = cascading
        self._exchange = Exchange(means)

    async def answer(self, entry: Entry, errand: Errand) -> AnyReply:
        """Return the reply to a call, once its limits have room.

        Raises:
            ModelNotFound: no upstream has the model.
            LimitReached: a limit of its key, tenant or model has no room.
            DescantError: see `Exchange.ask`.
        """
        call = entry.call
        claims = self._claims.of(call)
        plan = self._plan(call, errand)
        if plan is not None:
            kept = await self._caching.kept(call, plan, entry.tally)
            entry.tally.mark("cache")
            if kept is not None:
                # What costs nothing takes a request of a minute's, and no tokens.
                await self._books.admit(entry, claims, Amounts(1))
                return kept
        await self._books.admit(entry, claims, self._most(call, claims))
        if plan is None:
            return await self._ask(call, errand, entry.tally)
        # Who asks for others too asks as long as any of them waits: then, nobody does any more.
        asked = replace(call, deadline_s=math.inf) if plan.may_share else call
        reply = await self._caching.shared(
            call, plan, entry.tally, partial(self._ask, asked, errand)
        )
        entry.tally.mark("upstream_first_byte")
        return reply

    def _plan(self, call: Call, errand: Errand) -> CachePlan | None:
        if self._cascading.has(call.model):
            return None
        route = self._means.router.route(call.model)
        return self._caching.plan(call, route, errand.cache_control)

    async def _ask(self, call: Call, errand: Errand, tally: Tally) -> AnyReply:
        if self._cascading.has(call.model):
            return await self._cascading.ask(call, tally, errand.span)
        deal = self._means.router.deal(call)
        tally.shadow_model = deal.shadow_model
        asked = call if deal.model == call.model else replace(call, model=deal.model)
        return await self._exchange.ask(asked, tally, errand.span)

    async def ask_shadow(self, call: Call, tally: Tally, span: RequestSpan) -> AnyReply:
        """Ask on nobody's behalf: no limit of a caller is touched.

        Raises:
            DescantError: see `Exchange.ask`.
        """
        return await self._exchange.ask(call, tally, span)

    def _most(self, call: Call, claims: tuple[Claim, ...]) -> Amounts:
        """Return the most a call may take; money only where it is limited."""
        models = self._cascading.models(call.model)
        tokens = call.most_tokens * len(models)
        if not any(claim.budgets for claim in claims):
            return Amounts(1, tokens)
        return Amounts(1, tokens, sum(self._dearest_nano(call, model) for model in models))

    def _dearest_nano(self, call: Call, model: str) -> int:
        usage = Usage(call.prompt_tokens, call.max_tokens)
        names = self._means.router.route(model).upstreams
        return max(self._means.fleet[name].prices.money_nano(usage) for name in names)
