"""What a worker tells those who run it: where it stands, and what tokens are spent on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from descant.gateway.cache import LayeredStore
from descant.gateway.call import Caller
from descant.gateway.lasting import Lasting
from descant.gateway.limits import SharedLimits
from descant.gateway.settings import Settings
from descant.gateway.upstream import Upstream
from descant.schema.errors import NotAllowed


def check_admin(caller: Caller) -> None:
    """Let pass whose key says ``admin = true``.

    Raises:
        NotAllowed: it does not.
    """
    if not caller.is_admin:
        raise NotAllowed(
            "This page is for keys with admin = true.", remedy="Say so in the gateway's file."
        )


def economy(lasting: Lasting) -> dict[str, Any]:
    """Return what each model's tokens were spent on since this worker began."""
    return {"worker": os.getpid(), "routes": lasting.economy.report().rows()}


def state(settings: Settings, lasting: Lasting) -> dict[str, Any]:
    """Return where this worker stands."""
    return {
        "worker": os.getpid(),
        "upstreams": {name: _upstream(each, lasting) for name, each in settings.fleet.items()},
        "limits": _limits(lasting),
        "caches": _caches(lasting),
        "semantic": {
            name: {**asdict(tier.cache.state()), "counts": asdict(tier.cache.counts)}
            for name, tier in lasting.semantics.tiers().items()
        },
        "ledger": _ledger(lasting),
        "shadows_left_out": lasting.shadowing.num_left_out,
    }


def _upstream(upstream: Upstream, lasting: Lasting) -> dict[str, Any]:
    now_s, health = lasting.clock(), upstream.health
    return {
        "breaker": health.breaker.state(now_s).value,
        "cooldown_s": health.cooldown_s(now_s),
        "in_flight": lasting.memory.view.in_flight(upstream.name),
        "learned_limits": health.limits.stated(now_s),
    }


def _limits(lasting: Lasting) -> dict[str, Any]:
    limits = lasting.limits
    if not isinstance(limits, SharedLimits):
        return {"shared": False}
    return {"shared": limits.is_shared, "losses": limits.losses}


def _caches(lasting: Lasting) -> dict[str, Mapping[str, Any]]:
    answers, embeddings, flights = lasting.answers, lasting.embeddings, lasting.flights
    near = answers.near if isinstance(answers, LayeredStore) else answers
    shared = {"shared": asdict(answers.counts)} if near is not answers else {}
    return {
        "exact": asdict(near.counts),
        **shared,
        "embedding": {**asdict(embeddings.counts), "held_bytes": embeddings.held_bytes},
        "flights": {"begun": flights.num_begun, "joined": flights.num_joined},
    }


def _ledger(lasting: Lasting) -> dict[str, Any] | None:
    if lasting.ledger is None:
        return None
    kept = lasting.ledger.state
    return {"waiting_bytes": kept.waiting_bytes, "lost": kept.lost, "refused": kept.refused}
