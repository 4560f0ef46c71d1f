"""Whether a call's answer may come from a cache, and whether it may go into one.

An answer is repeated only where asking again would give the same: embeddings, scores, and texts with
``temperature`` 0 or with a ``seed``. A temperature that is not given is not 0. A route may say that
sampled answers are repeated too (`CachePolicy.sampled`).

Of ``cache-control`` in a request (RFC 9111, section 5.2.1): ``no-store`` keeps a request away from
caches altogether, ``no-cache`` asks anew and keeps the new answer, ``max-age`` takes no older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import orjson

from descant.gateway.cache.partition import Identity, exact_key
from descant.gateway.call import Call

_KNOWN_STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


@dataclass(frozen=True)
class CachePolicy:
    """What a route says about its answers."""

    ttl_s: float = 0.0
    """How long an answer may be given again; 0: never, though requests under way are still shared."""
    sampled: bool = False
    """Whether answers that were drawn at random are repeated too."""


@dataclass(frozen=True, slots=True)
class CacheWish:
    """What a caller's ``cache-control`` asks for."""

    no_store: bool = False
    no_cache: bool = False
    most_age_s: float = inf


@dataclass(frozen=True, slots=True)
class CachePlan:
    """Where a call's answer is looked for and kept."""

    key: bytes
    flight: bytes
    """Calls with the same one want the same bytes from upstream, streamed or whole."""
    may_read: bool
    may_store: bool
    may_share: bool
    """Whether it may wait for a call like it that is already under way."""
    ttl_s: float
    most_age_s: float
    content: str
    """What the model's name stands for, as `Identity` says it."""


def read_cache_control(value: str | None) -> CacheWish:
    """Read the header's value; what is unknown or malformed asks for nothing."""
    if not value:
        return CacheWish()
    parts = [part.strip().lower() for part in value.split(",")]
    ages = [float(part[8:]) for part in parts if part.startswith("max-age=") and part[8:].isdigit()]
    return CacheWish("no-store" in parts, "no-cache" in parts, min(ages, default=inf))


def is_repeatable(call: Call, policy: CachePolicy) -> bool:
    """Return whether the same request may be given the same answer again."""
    if call.operation in ("embeddings", "scores") or policy.sampled:
        return True
    temperature, seed = call.body.get("temperature"), call.body.get("seed")
    is_greedy = isinstance(temperature, int | float) and temperature == 0
    return (is_greedy and not isinstance(temperature, bool)) or type(seed) is int


def plan_cache(
    call: Call, identity: Identity, policy: CachePolicy, wish: CacheWish
) -> CachePlan | None:
    """Return what caches may do for a call; None: nothing."""
    if wish.no_store or not is_repeatable(call, policy):
        return None
    options = call.body.get("stream_options") or {}
    if not isinstance(options, dict) or not _KNOWN_STREAM_OPTIONS.issuperset(options):
        return None
    key = exact_key(call, identity)
    form = orjson.dumps([call.is_stream, options], option=orjson.OPT_SORT_KEYS)
    return CachePlan(
        key=key,
        flight=key + form,
        may_read=policy.ttl_s > 0 and not wish.no_cache and wish.most_age_s > 0,
        may_store=policy.ttl_s > 0,
        may_share=not wish.no_cache,
        ttl_s=policy.ttl_s,
        most_age_s=min(wish.most_age_s, policy.ttl_s),
        content=identity.content,
    )
