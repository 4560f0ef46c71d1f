"""One version of the gateway's file, made ready to answer calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from descant.gateway.answering import Answering
from descant.gateway.batches import Desk, open_desk
from descant.gateway.caching import Caching
from descant.gateway.cascading import Cascading, ready_cascades
from descant.gateway.claims import Claims
from descant.gateway.config import GatewayConfig
from descant.gateway.economy import PromptLibrary
from descant.gateway.exchange import Exchange, Means
from descant.gateway.fleet import Fleet
from descant.gateway.intake import Intake
from descant.gateway.key_ring import KeyRing
from descant.gateway.lasting import Lasting
from descant.gateway.routing import Router
from descant.gateway.tiers import Tiers


@dataclass(frozen=True)
class Settings:
    """A call is answered under one version from its beginning to its end."""

    config: GatewayConfig
    fleet: Fleet
    keys: KeyRing
    intake: Intake
    answering: Answering
    router: Router
    claims: Claims
    desk: Desk | None
    """Where files and batches are asked for; None where there are none."""

    @classmethod
    def of(
        cls,
        config: GatewayConfig,
        lasting: Lasting,
        environment: Mapping[str, str],
        former: Fleet | None,
    ) -> Settings:
        """Make a version ready; upstreams that did not change are taken over from the `former` one.

        Raises:
            InvalidConfig: something in it cannot be used.
            MissingDependency: a package that it needs is not installed.
        """
        # First what may fail: an upstream that is ready holds connections.
        cascades = ready_cascades(config.cascades, lasting.clock)
        prompts = _prompts(config)
        semantic = lasting.semantics.ready(config.routes)
        keys = KeyRing(config.keys)
        fleet = Fleet(config.upstreams, environment, lasting.random, former)
        router = Router(config, lasting.memory, lasting.wall_clock)
        means = Means(
            fleet, router, lasting.limits, lasting.patience, lasting.contents, lasting.clock
        )
        caching = Caching(lasting.answers, lasting.flights, lasting.clock, lasting.wall_clock)
        cascading = Cascading(cascades, Exchange(means), fleet)
        tiers = Tiers(caching, lasting.embeddings, lasting.semantics, lasting.clock)
        claims = Claims(config)
        answering = Answering(means, claims, lasting.books, tiers, cascading)
        intake = Intake(config.server, keys, lasting.estimator, lasting.clock, prompts)
        desk = open_desk(config, fleet, environment, lasting.wall_clock)
        lasting.semantics.adopt(semantic)
        return cls(config, fleet, keys, intake, answering, router, claims, desk)


def _prompts(config: GatewayConfig) -> PromptLibrary | None:
    return None if config.prompts is None else PromptLibrary.read(Path(config.prompts.folder))
