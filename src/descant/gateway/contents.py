"""What the names of models stand for at Descant upstreams just now.

A name may come to stand for another adapter while the gateway runs. The hashes that `/v1/models` of a
Descant server lists are part of the cache's keys, so that what an adapter answered is not given in
the name of its successor. Where an upstream lists none, the route's `cache_s` is the bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

import aiohttp
import orjson

from descant.gateway.call import Call
from descant.gateway.config import GatewayConfig
from descant.gateway.upstream import Upstream
from descant.schema.errors import DescantError

_log = logging.getLogger(__name__)
INTERVAL_S = 1.0
_TROUBLE = (aiohttp.ClientError, OSError, TimeoutError, ValueError, DescantError)


class Contents:
    """The content hashes that upstreams list, by upstream and name."""

    def __init__(self) -> None:
        self._listed: dict[str, Mapping[str, str]] = {}

    def take(self, upstream: str, hashes: Mapping[str, str]) -> None:
        """Take what an upstream lists now."""
        self._listed[upstream] = hashes

    def of(self, call: Call, model: str, upstreams: Mapping[str, Upstream]) -> str:
        """Return what `model` stands for at these upstreams, as text; empty where none tells.

        Of a scorecard it is what its indicators stand for.
        """
        told: set[str] = set()
        for upstream in upstreams.values():
            listed = self._listed.get(upstream.name)
            if listed:
                names = _names(call, model, upstream, listed)
                told.update(f"{name}={listed[name]}" for name in names if name in listed)
        return " ".join(sorted(told))


async def follow_contents(contents: Contents, upstreams: Iterable[Upstream]) -> None:
    """Ask what upstreams list again and again, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for upstream in upstreams:
            tasks.create_task(_follow(contents, upstream))


def followed(config: GatewayConfig, fleet: Mapping[str, Upstream]) -> list[Upstream]:
    """Return the upstreams whose contents count: Descant servers of routes that keep answers."""
    named = {name for route in config.routes.values() if route.cache_s for name in route.upstreams}
    return [fleet[name] for name in sorted(named) if fleet[name].config.dialect == "descant"]


async def _follow(contents: Contents, upstream: Upstream) -> None:
    is_heard = True
    while True:
        try:
            contents.take(upstream.name, _hashes(await upstream.listing()))
            is_heard = True
        except _TROUBLE as error:
            # What was listed last still counts; until it is heard again that is said once.
            if is_heard:
                _log.warning("What %s serves cannot be read: %r", upstream.name, error)
            is_heard = False
        await asyncio.sleep(INTERVAL_S)


def _names(call: Call, model: str, upstream: Upstream, listed: Mapping[str, str]) -> Iterable[str]:
    if call.operation != "scores":
        return (upstream.config.names.get(model, model),)
    named = call.body.get("indicators")
    if not isinstance(named, list):
        return listed
    return [name for name in named if isinstance(name, str)]


def _hashes(listing: bytes) -> dict[str, str]:
    document = orjson.loads(listing)
    rows = document.get("data") if isinstance(document, dict) else None
    return {
        row["id"]: row["content_hash"]
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
        and isinstance(row.get("id"), str)
        and isinstance(row.get("content_hash"), str)
    }
