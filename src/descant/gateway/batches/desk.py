"""Requests about files and batches → who answers them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from descant.gateway.batches.ask import Ask
from descant.gateway.batches.batch_jobs import BatchJobs
from descant.gateway.batches.depot import Depot
from descant.gateway.batches.download import Download
from descant.gateway.batches.files import Files
from descant.gateway.batches.owner_tags import OwnerTags
from descant.gateway.config import BatchesConfig, GatewayConfig
from descant.gateway.dialects.openai import OpenAIDialect
from descant.gateway.upstream import Upstream
from descant.schema.errors import InvalidConfig, MethodNotAllowed, NotAllowed, NotFound

_FILE = re.compile(r"/v1/files/([^/]+)(/content)?")
_BATCH = re.compile(r"/v1/batches/([^/]+)(/cancel)?")


class Desk:
    """Answers under one version of the settings."""

    def __init__(self, config: BatchesConfig, depot: Depot, tags: OwnerTags, names: dict[str, str]):
        self.config = config
        self._depot = depot
        self._tags = tags
        self._files = Files(depot, tags, config, names)
        self._jobs = BatchJobs(depot, tags)

    async def answer(self, ask: Ask) -> dict[str, Any] | Download:
        """Return the object that was asked for, or the file.

        Raises:
            NotAllowed: the key may have no batches.
            NotFound: there is nothing of that id, or not of this tenant.
            DepotRefused, DescantError: see `Files`, `BatchJobs` and `Depot`.
        """
        if not any(fnmatchcase(ask.caller.key, glob) for glob in self.config.keys):
            raise NotAllowed("This key may not use files and batches.")
        if ask.path in ("/v1/files", "/v1/batches"):
            return await self._collection(ask)
        if found := _FILE.fullmatch(ask.path):
            return await self._file(ask, found[1], found[2])
        if found := _BATCH.fullmatch(ask.path):
            return await self._batch(ask, found[1], found[2])
        raise NotFound(f"There is nothing at {ask.path}.")

    async def _collection(self, ask: Ask) -> dict[str, Any]:
        place = self._files if ask.path == "/v1/files" else self._jobs
        if ask.method == "POST":
            return await place.create(ask)
        if ask.method == "GET":
            return await place.list(ask)
        raise _not_so(ask)

    async def _file(self, ask: Ask, shown_id: str, part: str | None) -> dict[str, Any] | Download:
        if ask.method == "GET":
            return await (self._files.get(ask, shown_id) if not part else self._open(ask, shown_id))
        if ask.method == "DELETE" and not part:
            return await self._files.delete(ask, shown_id)
        raise _not_so(ask)

    async def _batch(self, ask: Ask, shown_id: str, part: str | None) -> dict[str, Any]:
        if ask.method == "GET" and not part:
            return await self._jobs.get(ask, shown_id)
        if ask.method == "POST" and part:
            return await self._jobs.cancel(ask, shown_id)
        raise _not_so(ask)

    async def _open(self, ask: Ask, shown_id: str) -> Download:
        raw_id = self._tags.raw("file", ask.caller.tenant, shown_id)
        return Download(raw_id, await self._depot.open("GET", f"/v1/files/{raw_id}/content"))


def open_desk(
    config: GatewayConfig,
    fleet: Mapping[str, Upstream],
    environment: Mapping[str, str],
    wall_clock: Callable[[], float],
) -> Desk | None:
    """Return the desk of a version of the settings; None where it has no batches.

    Raises:
        InvalidConfig: the secret is missing or too short, or the upstream has no batches.
    """
    batches = config.batches
    if batches is None:
        return None
    upstream = fleet[batches.upstream]
    dialect = upstream.dialect
    if not isinstance(dialect, OpenAIDialect):
        raise InvalidConfig(
            f"The upstream {batches.upstream!r} has no batches.", field="batches.upstream"
        )
    secret = environment.get(batches.secret_env)
    if secret is None:
        raise InvalidConfig(
            f"Batches need a secret in the environment variable {batches.secret_env}.",
            field="batches.secret_env",
            remedy="Make one: openssl rand -hex 32.",
        )
    depot = Depot(upstream, dialect, config.server.deadline_s, wall_clock)
    tags = OwnerTags(secret, batches.upstream)
    return Desk(batches, depot, tags, upstream.config.names)


def _not_so(ask: Ask) -> MethodNotAllowed:
    return MethodNotAllowed(f"{ask.path} does not take {ask.method}.")
