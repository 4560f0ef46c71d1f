"""The semantic tiers of one worker: one for each route that asks for it, off for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import orjson

from descant.gateway.cache.false_hits import FalseHitConfig, FalseHitGate, FalseHitState
from descant.gateway.call import Call
from descant.gateway.config import RouteConfig, SemanticRouteConfig
from descant.schema.errors import GarbledAnswer

if TYPE_CHECKING:
    from descant.gateway.cache.semantic import SemanticCache


class SemanticTier(NamedTuple):
    """One route's."""

    config: SemanticRouteConfig
    ttl_s: float
    cache: SemanticCache


class Semantics:
    """A tier, and what it has learned, lives until its route's settings are others."""

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]):
        self._clock = clock
        self._random = random
        self._tiers: dict[str, SemanticTier] = {}

    def ready(self, routes: Mapping[str, RouteConfig]) -> dict[str, SemanticTier]:
        """Return the tiers of these routes; what did not change is as it is.

        Raises:
            MissingDependency: a route asks for a tier, and NumPy is not installed.
        """
        return {
            name: self._tier(name, route.semantic, route.cache_s)
            for name, route in routes.items()
            if route.semantic is not None
        }

    def adopt(self, tiers: dict[str, SemanticTier]) -> None:
        """Answer from these alone."""
        self._tiers = tiers

    def of(self, route: str) -> SemanticTier | None:
        """Return the tier of a route; None where it asks for none."""
        return self._tiers.get(route)

    def states(self) -> Iterator[tuple[str, FalseHitState]]:
        """Yield where each route's tier stands."""
        for name, tier in list(self._tiers.items()):
            yield name, tier.cache.state()

    def tiers(self) -> Mapping[str, SemanticTier]:
        """Return all, by route."""
        return self._tiers

    def _tier(self, name: str, config: SemanticRouteConfig, ttl_s: float) -> SemanticTier:
        known = self._tiers.get(name)
        if known is not None and (known.config, known.ttl_s) == (config, ttl_s):
            return known
        # A worker that has no use for it does without NumPy.
        from descant.gateway.cache.semantic import SemanticCache, SemanticConfig

        rules = FalseHitConfig(config.most_false_share, least_check_share=config.check_share)
        bounds = SemanticConfig(config.least_similarity, ttl_s, most_bytes=config.most_bytes)
        gate = FalseHitGate(name, rules, self._random)
        return SemanticTier(config, ttl_s, SemanticCache(bounds, gate, self._clock))


def embedding_call(call: Call, config: SemanticRouteConfig, text: str, now_s: float) -> Call:
    """Return the question for one text's vector, on behalf of a call."""
    body = {"model": config.model, "input": [text], "encoding_format": "float"}
    prompt_tokens = min(call.prompt_tokens, len(text.encode(errors="replace")))
    deadline_s = min(call.deadline_s, now_s + config.timeout_s)
    raw = orjson.dumps(body)
    return Call(
        call.id,
        "embeddings",
        config.model,
        body,
        raw,
        call.caller,
        prompt_tokens,
        max_tokens=0,
        is_stream=False,
        received_s=now_s,
        deadline_s=deadline_s,
    )


def read_vector(body: bytes) -> list[float]:
    """Return the vector in an answer to `embedding_call`.

    Raises:
        GarbledAnswer: there is none.
    """
    try:
        (row,) = orjson.loads(body)["data"]
        return [float(value) for value in row["embedding"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise GarbledAnswer("The embedding model's answer has no vector.") from error
