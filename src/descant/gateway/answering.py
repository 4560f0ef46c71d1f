"""One admitted call → its reply: who answers, canary or not, and which limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from descant.gateway.books import Books, Entry
from descant.gateway.cache import CachePolicy, Identity, plan_cache, read_cache_control
from descant.gateway.call import Call, Usage
from descant.gateway.cascading import Cascading
from descant.gateway.claims import Claims
from descant.gateway.config import RouteConfig
from descant.gateway.exchange import Exchange, Means
from descant.gateway.limits import Amounts, Claim
from descant.gateway.reply import AnyReply, Tally
from descant.gateway.tiers import Planned, Tiers, Way
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
        tiers: Tiers,
        cascading: Cascading,
    ):
        self._means = means
        self._claims = claims
        self._books = books
        self._tiers = tiers
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
        planned = self._plan(call, errand)
        admit = partial(self._admit, entry, claims)
        if planned is None:
            await admit(call)
            return await self._ask(errand, call, entry.tally)
        way = Way(admit, partial(self._ask, errand), partial(self._ask_beside, errand))
        reply = await self._tiers.answer(call, planned, entry.tally, way)
        if entry.tally.cache != "hit":
            entry.tally.mark("upstream_first_byte")
        return reply

    async def _admit(self, entry: Entry, claims: tuple[Claim, ...], call: Call | None) -> None:
        # What costs nothing takes a request of a minute's, and no tokens.
        most = Amounts(1) if call is None else self._most(call, claims)
        await self._books.admit(entry, claims, most)

    def _plan(self, call: Call, errand: Errand) -> Planned | None:
        if self._cascading.has(call.model):
            return None
        route = self._means.router.route(call.model)
        if not route.cache_s:
            return None
        identity = self._identity(call, route)
        policy = CachePolicy(route.cache_s, route.cache_sampled)
        plan = plan_cache(call, identity, policy, read_cache_control(errand.cache_control))
        name = self._means.router.route_name(call.model)
        return None if plan is None else Planned(plan, identity, name)

    def _identity(self, call: Call, route: RouteConfig) -> Identity:
        """Return what the model's name stands for, for this caller and at this moment."""
        means = self._means
        model = means.router.deal(call).model
        upstreams = means.router.route(model).upstreams
        content = means.contents.of(call, model, {name: means.fleet[name] for name in upstreams})
        return Identity(f"{model} {content}" if model != call.model else content, call.prompt)

    async def _ask(self, errand: Errand, call: Call, tally: Tally) -> AnyReply:
        if self._cascading.has(call.model):
            return await self._cascading.ask(call, tally, errand.span)
        deal = self._means.router.deal(call)
        tally.shadow_model = deal.shadow_model
        asked = call if deal.model == call.model else replace(call, model=deal.model)
        return await self._exchange.ask(asked, tally, errand.span)

    async def _ask_beside(self, errand: Errand, call: Call, tally: Tally) -> AnyReply:
        try:
            return await self._exchange.ask(call, tally, errand.span)
        finally:
            self._books.note_stage(call, tally, self._means.fleet)

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
