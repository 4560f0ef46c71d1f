"""One version of the gateway's file, made ready to answer calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from descant.gateway.answering import Answering
from descant.gateway.batches import Desk, open_desk
from descant.gateway.caching import Caching
from descant.gateway.cascading import Cascading, ready_cascades
from descant.gateway.claims import Claims
from descant.gateway.config import GatewayConfig
from descant.gateway.exchange import Exchange, Means
from descant.gateway.fleet import Fleet
from descant.gateway.intake import Intake
from descant.gateway.key_ring import KeyRing
from descant.gateway.lasting import Lasting
from descant.gateway.routing import Router


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
        cascades = ready_cascades(config.cascades, lasting.clock)
        keys = KeyRing(config.keys)
        fleet = Fleet(config.upstreams, environment, lasting.random, former)
        router = Router(config, lasting.memory, lasting.wall_clock)
        means = Means(fleet, router, lasting.limits, lasting.patience, lasting.clock)
        caching = Caching(lasting.answers, lasting.flights, lasting.clock, lasting.wall_clock)
        cascading = Cascading(cascades, Exchange(means), fleet)
        claims = Claims(config)
        answering = Answering(means, claims, lasting.books, caching, cascading)
        intake = Intake(config.server, keys, lasting.estimator, lasting.clock)
        desk = open_desk(config, fleet, environment, lasting.wall_clock)
        return cls(config, fleet, keys, intake, answering, router, claims, desk)
