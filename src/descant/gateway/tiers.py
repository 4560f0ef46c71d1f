"""The tiers of the cache in their order: the same question, one that means the same, one under way.

Embeddings have a tier of their own, by input, which each worker keeps for itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf

import orjson

from descant.gateway.cache import (
    CachedAnswer,
    CachePlan,
    EmbeddingBatch,
    EmbeddingTier,
    Identity,
)
from descant.gateway.cache.partition import exact_key
from descant.gateway.caching import Caching
from descant.gateway.call import Call
from descant.gateway.reply import CACHE, AnyReply, Tally, WholeReply
from descant.gateway.semantics import Semantics, SemanticTier, embedding_call, read_vector
from descant.schema.errors import GarbledAnswer, UpstreamFailed


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that caches may have to do with."""

    plan: CachePlan
    identity: Identity
    route: str
    """The name of its route."""


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to a call whose answer is not known."""

    admit: Callable[[Call | None], Awaitable[None]]
    """Sets aside what a call may take; None: nothing is asked."""
    ask: Callable[[Call, Tally], Awaitable[AnyReply]]
    ask_beside: Callable[[Call, Tally], Awaitable[AnyReply]]
    """Asks what the caller did not ask for itself, and writes down what that took."""


class Tiers:
    """Answers from the first tier that can."""

    def __init__(
        self,
        caching: Caching,
        embeddings: EmbeddingTier,
        semantics: Semantics,
        clock: Callable[[], float],
    ):
        self._caching = caching
        self._embeddings = embeddings
        self._semantics = semantics
        self._clock = clock

    async def answer(self, call: Call, planned: Planned, tally: Tally, way: Way) -> AnyReply:
        """Return the answer that is known, or ask for it.

        Raises:
            DescantError: whatever `way` raised.
        """
        batch = None if call.is_stream else self._embeddings.split(call, planned.identity)
        if batch is not None:
            return await self._embed(call, planned, batch, tally, way)
        kept = await self._caching.kept(call, planned.plan, tally)
        tally.mark("cache")
        if kept is not None:
            await way.admit(None)
            return kept
        await way.admit(call)
        tier = self._semantics.of(planned.route)
        if tier is None or not _may_be_similar(planned.plan):
            return await self._caching.shared(
                call, planned.plan, tally, partial(way.ask, _patient(call, planned.plan))
            )
        return await self._similar(call, planned, tally, way, tier)

    async def _similar(
        self, call: Call, planned: Planned, tally: Tally, way: Way, tier: SemanticTier
    ) -> AnyReply:
        embed = partial(self._vectors, call, tier, way)
        question = await tier.cache.ask(call, planned.identity, embed)
        tally.mark("cache")
        if question.free is not None:
            tally.cache_tier = "semantic"
        if question.match is not None and question.is_served:
            return self._caching.give(call, question.match.answer, tally)

        async def learn(answer: CachedAnswer) -> None:
            await tier.cache.check(question, answer)

        ask = partial(way.ask, _patient(call, planned.plan))
        return await self._caching.shared(call, planned.plan, tally, ask, learn)

    async def _vectors(
        self, call: Call, tier: SemanticTier, way: Way, texts: Sequence[str]
    ) -> Sequence[Sequence[float]]:
        vectors = []
        for text in texts:
            asked = embedding_call(call, tier.config, text, self._clock())
            reply = await way.ask_beside(asked, Tally())
            if not isinstance(reply, WholeReply) or reply.status != 200:
                raise UpstreamFailed(f"{asked.model} gave no vector.")
            vectors.append(read_vector(reply.body))
        return vectors

    async def _embed(
        self, call: Call, planned: Planned, batch: EmbeddingBatch, tally: Tally, way: Way
    ) -> AnyReply:
        plan, tally.cache_tier = planned.plan, "embedding"
        if not plan.may_read or plan.most_age_s < plan.ttl_s:
            # How old each vector is, is not known.
            batch = batch.anew()
        elif batch.is_known:
            await way.admit(None)
            return self._known(batch, tally)
        if plan.may_read:
            tally.cache = "miss"
        tally.mark("cache")
        rest = _rest(call, batch)
        await way.admit(rest)
        beside = replace(plan, flight=exact_key(rest, planned.identity), may_store=False)
        ask = partial(way.ask, _patient(rest, beside))
        reply = await self._caching.shared(rest, beside, tally, ask)
        return self._merged(batch, reply, plan)

    def _known(self, batch: EmbeddingBatch, tally: Tally) -> WholeReply:
        body, usage = self._embeddings.whole(batch)
        tally.cache, tally.usage, tally.upstream = "hit", usage, CACHE
        tally.mark("cache")
        return WholeReply(200, body, usage, CACHE)

    def _merged(self, batch: EmbeddingBatch, reply: AnyReply, plan: CachePlan) -> AnyReply:
        if not isinstance(reply, WholeReply) or reply.status != 200:
            return reply
        body = self._embeddings.merge(batch, reply.body, plan.ttl_s)
        if body is None:
            raise GarbledAnswer("The upstream's embeddings are not those of what it was asked.")
        return replace(reply, body=body)


def _patient(call: Call, plan: CachePlan) -> Call:
    """Return a call that asks for others too: as long as any of them waits, and then nobody does."""
    return replace(call, deadline_s=inf) if plan.may_share else call


def _may_be_similar(plan: CachePlan) -> bool:
    """Whether the caller takes any answer that may be given again."""
    return plan.may_read and plan.may_store and plan.most_age_s >= plan.ttl_s


def _rest(call: Call, batch: EmbeddingBatch) -> Call:
    """Return the call with the inputs alone that are not known."""
    body = batch.rest()
    raw = orjson.dumps(body)
    # Its tokens were estimated; of them the rest has its share of the bytes.
    share = len(raw) / max(1, len(orjson.dumps(call.body)))
    prompt_tokens = min(call.prompt_tokens, ceil(call.prompt_tokens * share))
    return replace(call, body=body, raw=raw, prompt_tokens=prompt_tokens)
