"""Which models there are: those that the settings name, and those that upstreams list."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import aiohttp

from descant.gateway.config import GatewayConfig, UpstreamConfig
from descant.gateway.dialects.azure import AzureDialect
from descant.gateway.dialects.document import count_in, list_in, parse_object, text_in
from descant.gateway.dialects.openai import OpenAIDialect
from descant.gateway.routing.route_table import RouteTable
from descant.gateway.upstream import Upstream, read_some
from descant.schema.errors import GarbledAnswer, ModelNotFound

_log = logging.getLogger(__name__)
_EVERY_S = 60.0
_WAIT_S = 10.0
_MOST_BYTES = 4 << 20
_MOST_MODELS = 1000
_LONGEST_NAME = 256


@dataclass(frozen=True)
class Model:
    """One model, or one adapter of a model."""

    name: str
    created_s: int = 0
    """Seconds since 1970; 0 where nobody says."""
    parent: str | None = None
    """The model that it is an adapter of, where a Descant server says so."""

    def card(self) -> dict[str, Any]:
        """Return it as OpenAI's API writes models."""
        card = {"id": self.name, "object": "model", "created": self.created_s}
        parent = {} if self.parent is None else {"parent": self.parent}
        return {**card, "owned_by": "descant-gateway", **parent}


class Catalogue:
    """What upstreams said when they were last asked; who does not answer keeps what it said before."""

    def __init__(self) -> None:
        self._listed: dict[str, tuple[UpstreamConfig, tuple[Model, ...]]] = {}
        self._unheard: set[str] = set()
        self._shown: tuple[GatewayConfig, list[Model]] | None = None

    def models(self, config: GatewayConfig) -> list[Model]:
        """Return every model that a route leads to, by name."""
        if self._shown is None or self._shown[0] is not config:
            self._shown = (config, self._gathered(config))
        return self._shown[1]

    def _gathered(self, config: GatewayConfig) -> list[Model]:
        found: dict[str, Model] = {}
        for model in self._candidates(config):
            known = found.get(model.name)
            if known is None or known.parent is None:
                found[model.name] = model
        return [found[name] for name in sorted(found)]

    async def follow(self, fleet: Mapping[str, Upstream], every_s: float = _EVERY_S) -> None:
        """Ask upstreams that serve more than they are configured with, again and again."""
        asked = [each for each in fleet.values() if each.config.list_models and _is_asked(each)]
        while asked:
            await asyncio.gather(*map(self._ask, asked))
            await asyncio.sleep(every_s)

    async def _ask(self, upstream: Upstream) -> None:
        try:
            models = await read_models(upstream)
        except (aiohttp.ClientError, OSError, TimeoutError, GarbledAnswer) as error:
            if upstream.name not in self._unheard:
                self._unheard.add(upstream.name)
                _log.warning("Upstream %s lists no models: %s", upstream.name, type(error).__name__)
            return
        self._unheard.discard(upstream.name)
        self._listed[upstream.name] = (upstream.config, models)
        self._shown = None

    def _candidates(self, config: GatewayConfig) -> Iterator[Model]:
        named = [*config.routes, *config.cascades]
        for upstream in config.upstreams.values():
            named += [*upstream.models, *upstream.names]
        yield from (Model(name) for name in named if not is_glob(name))
        routes = RouteTable(config.routes)
        for name, (asked, models) in self._listed.items():
            now = config.upstreams.get(name)
            # Another address under the same name says nothing of what this one has.
            if now is None or now.url != asked.url:
                continue
            for model in models:
                if _fits(model.name, now.models) and _leads(routes, model.name, name):
                    yield model


def is_glob(name: str) -> bool:
    """Return whether a name stands for many."""
    return any(sign in name for sign in "*?[")


async def read_models(upstream: Upstream) -> tuple[Model, ...]:
    """Return what an upstream lists.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it cannot be reached, or has no list.
        GarbledAnswer: what it says is no list.
    """
    assert isinstance(upstream.dialect, OpenAIDialect)
    url = upstream.address.origin + upstream.dialect.place("/v1/models")
    headers = {"accept-encoding": "identity", **upstream.dialect.headers}
    timeout = aiohttp.ClientTimeout(total=_WAIT_S)
    async with upstream.session.get(
        url, headers=headers, allow_redirects=False, timeout=timeout
    ) as response:
        response.raise_for_status()
        document = parse_object(await read_some(response, _MOST_BYTES))
    if document is None:
        raise GarbledAnswer("It is no JSON object.")
    cards = [card for card in list_in(document, "data")[:_MOST_MODELS] if isinstance(card, dict)]
    return tuple(_model(card) for card in cards if 0 < len(text_in(card, "id")) <= _LONGEST_NAME)


def _model(card: dict[str, Any]) -> Model:
    parent = text_in(card, "parent")[:_LONGEST_NAME] or None
    return Model(text_in(card, "id"), count_in(card, "created") or 0, parent)


def _is_asked(upstream: Upstream) -> bool:
    # Azure lists what could be deployed, not what is; Anthropic's names are to be configured.
    dialect = upstream.dialect
    speaks = isinstance(dialect, OpenAIDialect) and not isinstance(dialect, AzureDialect)
    return speaks and any(map(is_glob, upstream.config.models))


def _leads(routes: RouteTable, model: str, upstream: str) -> bool:
    try:
        return upstream in routes.route(model).upstreams
    except ModelNotFound:
        return False


def _fits(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
