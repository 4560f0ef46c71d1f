"""Which limits a call has to keep: those of its key, its tenant and its model."""

from __future__ import annotations

from collections.abc import Mapping

from descant.gateway.call import Call, Caller
from descant.gateway.config import GatewayConfig, LimitConfig, UpstreamConfig
from descant.gateway.limits import Claim


class Claims:
    """The limits of one version of the settings, made once."""

    def __init__(self, config: GatewayConfig):
        self._keys = _claims("key", config.keys)
        self._tenants = _claims("tenant", config.tenants)
        self._models = _claims("model", config.models)

    def of_caller(self, caller: Caller) -> tuple[Claim, ...]:
        """Return the claims of a request that names no model."""
        found = (self._keys.get(caller.key), self._tenants.get(caller.tenant))
        return tuple(claim for claim in found if claim is not None)

    def of(self, call: Call) -> tuple[Claim, ...]:
        """Return the claims of a call; none where nothing limits it."""
        found = (
            self._keys.get(call.caller.key),
            self._tenants.get(call.caller.tenant),
            self._models.get(call.model),
        )
        return tuple(claim for claim in found if claim is not None)


def upstream_claims(name: str, config: UpstreamConfig) -> tuple[Claim, ...]:
    """Return what an upstream may be sent, in a minute and in its parts, by which providers judge it."""
    limits = LimitConfig(config.requests_per_minute, config.tokens_per_minute, config.concurrency)
    if limits == LimitConfig():
        return ()
    return (Claim.of(f"upstream:{name}", limits, config.burst_s),)


def _claims(kind: str, limits: Mapping[str, LimitConfig]) -> dict[str, Claim]:
    return {
        name: Claim.of(f"{kind}:{name}", each)
        for name, each in limits.items()
        if _limits_anything(each)
    }


def _limits_anything(limits: LimitConfig) -> bool:
    return any(
        value is not None
        for value in (
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.concurrency,
            limits.money_per_day,
            limits.money_per_month,
        )
    )
