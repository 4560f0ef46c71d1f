"""``/v1/batches``: one tenant's view of the upstream's batches.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import hmac
from typing import Any

from descant.gateway.batches.ask import Ask
from descant.gateway.batches.depot import Depot
from descant.gateway.batches.listing import find, list_object
from descant.gateway.batches.owner_tags import OwnerTags
from descant.gateway.body import Body
from descant.gateway.config import ServerConfig
from descant.gateway.dialects.document import object_in, parse_object, text_in
from descant.schema.errors import InputError

PATH = "/v1/batches"
OWNER = "descant_owner"
"""The key of a batch's metadata that marks its tenant; OpenAI lets a batch have 16."""
_MOST_METADATA = 15
_FIELDS = frozenset(
    {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
)
_FILE_IDS = ("input_file_id", "output_file_id", "error_file_id")
_BOUNDS = ServerConfig(max_body_bytes=65_536)
_PAGE = 100


class BatchJobs:
    """Creates, lists and cancels; every id it takes and gives is tagged."""

    def __init__(self, depot: Depot, tags: OwnerTags):
        self._depot = depot
        self._tags = tags

    async def create(self, ask: Ask) -> dict[str, Any]:
        """Begin a batch of one of this tenant's files.

        Raises:
            InputError: it is not what OpenAI's API says.
            NotFound: the tenant has no such file.
        """
        body = parse_object(await Body(ask.receive, ask.headers, _BOUNDS).read())
        if body is None:
            raise InputError("The request is not a JSON object.")
        for name in sorted(body.keys() - _FIELDS):
            raise InputError(f"{name!r} is no field of a batch.", field=name)
        tenant = ask.caller.tenant
        raw_id = self._tags.raw("file", tenant, text_in(body, "input_file_id"))
        sent = {**body, "input_file_id": raw_id, "metadata": self._marked(body, tenant)}
        return self._card(await self._depot.ask("POST", PATH, body=sent), ask)

    async def list(self, ask: Ask) -> dict[str, Any]:
        """Return this tenant's batches, newest first."""
        mark, after = self._tags.mark(ask.caller.tenant), ask.query.get("after")

        async def fetch(last: str | None) -> dict[str, Any]:
            query = {"limit": str(_PAGE)}
            return await self._depot.ask("GET", PATH, query | ({"after": last} if last else {}))

        def is_own(card: dict[str, Any]) -> bool:
            told = text_in(object_in(card, "metadata"), OWNER)
            return hmac.compare_digest(told.encode(errors="replace"), mark.encode())

        found = await find(
            fetch,
            is_own,
            after and self._tags.raw("batch", ask.caller.tenant, after),
            ask.limit(20, 100),
        )
        return list_object([self._card(card, ask) for card in found.cards], found.has_more)

    async def get(self, ask: Ask, shown_id: str) -> dict[str, Any]:
        """Say how far a batch is."""
        return self._card(await self._depot.ask("GET", self._path(ask, shown_id)), ask)

    async def cancel(self, ask: Ask, shown_id: str) -> dict[str, Any]:
        """Stop a batch; what is answered stays."""
        path = f"{self._path(ask, shown_id)}/cancel"
        return self._card(await self._depot.ask("POST", path), ask)

    def _path(self, ask: Ask, shown_id: str) -> str:
        return f"{PATH}/{self._tags.raw('batch', ask.caller.tenant, shown_id)}"

    def _marked(self, body: dict[str, Any], tenant: str) -> dict[str, Any]:
        given = body.get("metadata") or {}
        if not isinstance(given, dict) or len(given) > _MOST_METADATA:
            raise InputError(
                f"metadata is an object of at most {_MOST_METADATA} keys.", field="metadata"
            )
        return {**given, OWNER: self._tags.mark(tenant)}

    def _card(self, card: dict[str, Any], ask: Ask) -> dict[str, Any]:
        tenant = ask.caller.tenant
        metadata = {k: v for k, v in object_in(card, "metadata").items() if k != OWNER}
        files = {
            name: self._tags.shown("file", tenant, card[name])
            for name in _FILE_IDS
            if isinstance(card.get(name), str)
        }
        shown_id = self._tags.shown("batch", tenant, text_in(card, "id"))
        return {**card, **files, "id": shown_id, "metadata": metadata or None}
