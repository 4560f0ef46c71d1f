"""All upstreams of the gateway's file, made ready; what did not change stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from yarl import URL

from descant.gateway.claims import upstream_claims
from descant.gateway.config import UpstreamConfig
from descant.gateway.dialects import dialect_of
from descant.gateway.failures import UpstreamHealth
from descant.gateway.ledger import Prices
from descant.gateway.upstream import Upstream
from descant.gateway.upstream_address import parse_address
from descant.gateway.upstream_connector import open_session
from descant.schema.errors import InvalidConfig


class Fleet(Mapping[str, Upstream]):
    """Upstreams by name; to be made and closed in the event loop that uses it."""

    def __init__(
        self,
        configs: Mapping[str, UpstreamConfig],
        environment: Mapping[str, str],
        random: Callable[[], float],
        former: Mapping[str, Upstream] | None = None,
    ):
        """Make `configs` ready; of `former` those whose settings are the same are taken over.

        Raises:
            InvalidConfig: an address, key or certificate cannot be used.
        """
        self._upstreams: dict[str, Upstream] = {}
        before = former or {}
        try:
            for name, config in configs.items():
                known = before.get(name)
                if known is None or known.config != config:
                    known = _ready(name, config, environment, _health(name, config, known, random))
                self._upstreams[name] = known
        except InvalidConfig:
            for name, opened in self._upstreams.items():
                if before.get(name) is not opened:
                    # Nothing was asked through it yet, so there is no connection to close.
                    opened.session.detach()
            raise

    def __getitem__(self, name: str) -> Upstream:
        return self._upstreams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._upstreams)

    def __len__(self) -> int:
        return len(self._upstreams)

    async def close(self, kept: Mapping[str, Upstream] | None = None) -> None:
        """Close all connections but those of upstreams that are `kept`."""
        left = [each for name, each in self.items() if (kept or {}).get(name) is not each]
        await asyncio.gather(*(each.session.close() for each in left))


def _ready(
    name: str,
    config: UpstreamConfig,
    environment: Mapping[str, str],
    health: UpstreamHealth,
) -> Upstream:
    address = parse_address(config.url, allow_private=config.allow_private)
    return Upstream(
        name,
        config,
        dialect_of(config, _api_key(name, config, environment)),
        health,
        open_session(config),
        address,
        upstream_claims(name, config),
        Prices.per_million(config.read_price, config.write_price, config.cached_price),
        URL(address.origin).port or 0,
    )


def _health(
    name: str, config: UpstreamConfig, known: Upstream | None, random: Callable[[], float]
) -> UpstreamHealth:
    """Return what is known of the place: when it may be asked again does not depend on our settings."""
    if known is not None and (known.config.url, known.config.key_env) == (
        config.url,
        config.key_env,
    ):
        return known.health
    return UpstreamHealth(name, random)


def _api_key(name: str, config: UpstreamConfig, environment: Mapping[str, str]) -> str | None:
    if config.key_env is None:
        return None
    key = environment.get(config.key_env)
    if key is None:
        raise InvalidConfig(
            f"Upstream {name!r} needs its key in the environment variable {config.key_env}.",
            field=f"upstreams.{name}.key_env",
            remedy="Set it before the gateway starts.",
        )
    return key
