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
        for name, config in configs.items():
            known = (former or {}).get(name)
            if known is not None and known.config == config:
                self._upstreams[name] = known
            else:
                self._upstreams[name] = _ready(name, config, environment, random)

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
    random: Callable[[], float],
) -> Upstream:
    address = parse_address(config.url, allow_private=config.allow_private)
    return Upstream(
        name,
        config,
        dialect_of(config, _api_key(name, config, environment)),
        UpstreamHealth(name, random),
        open_session(config),
        address,
        upstream_claims(name, config),
        Prices.per_million(config.read_price, config.write_price, config.cached_price),
        URL(address.origin).port or 0,
    )


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
