"""Which share of a model's requests a canary answers, and which a shadow is asked too."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from descant.gateway.call import Call
from descant.gateway.config import RouteConfig
from descant.gateway.routing.leading_text import conversation_key


@dataclass(frozen=True, slots=True)
class Deal:
    """Who answers a call, and who is asked beside."""

    model: str
    """The model that answers."""
    is_canary: bool = False
    shadow_model: str | None = None
    """The model that is asked the same after the caller has been answered."""


def deal(call: Call, route: RouteConfig) -> Deal:
    """Return what becomes of a call; it follows from its conversation, or its tenant, alone."""
    if not route.canary_share and not route.shadow_share:
        return Deal(call.model)
    key = call.caller.tenant if route.deal_by == "tenant" else conversation_key(call)
    is_canary = _point("canary", key) < route.canary_share
    is_shadow = _point("shadow", key) < route.shadow_share
    answers = route.canary_model if is_canary and route.canary_model else call.model
    return Deal(answers, is_canary, route.shadow_model if is_shadow else None)


def _point(salt: str, key: str) -> float:
    """Return where a key lies between 0 and 1, the same in every process."""
    digest = hashlib.sha256(f"descant-{salt}:{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48
