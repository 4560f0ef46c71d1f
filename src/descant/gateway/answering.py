"""One admitted call → its reply: who answers, canary or not, and which limits it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from descant.gateway.books import Books, Entry
from descant.gateway.call import Call, Usage
from descant.gateway.claims import Claims
from descant.gateway.exchange import AnyReply, Exchange, Means
from descant.gateway.limits import Amounts, Claim


class Answering:
    """Answers calls under one version of the settings."""

    def __init__(self, means: Means, claims: Claims, books: Books):
        self._means = means
        self._claims = claims
        self._books = books
        self._exchange = Exchange(means)

    async def answer(self, entry: Entry, trace: Mapping[str, str]) -> AnyReply:
        """Return the reply to a call, once its limits have room.

        Raises:
            ModelNotFound: no upstream has the model.
            LimitReached: a limit of its key, tenant or model has no room.
            DescantError: see `Exchange.ask`.
        """
        call = entry.call
        deal = self._means.router.deal(call)
        claims = self._claims.of(call)
        await self._books.admit(entry, claims, self._most(call, claims))
        asked = call if deal.model == call.model else replace(call, model=deal.model)
        return await self._exchange.ask(asked, entry.tally, trace)

    def _most(self, call: Call, claims: tuple[Claim, ...]) -> Amounts:
        """Return the most a call may take; money only where it is limited."""
        tokens = call.most_tokens
        if not any(claim.budgets for claim in claims):
            return Amounts(1, tokens)
        usage = Usage(call.prompt_tokens, call.max_tokens)
        route = self._means.router.route(call.model)
        prices = (self._means.fleet[name].prices for name in route.upstreams)
        return Amounts(1, tokens, max(price.money_nano(usage) for price in prices))
