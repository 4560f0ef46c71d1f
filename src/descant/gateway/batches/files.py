"""``/v1/files``: one tenant's view of the upstream's files.

https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from descant.gateway.batches.ask import Ask
from descant.gateway.batches.depot import Depot
from descant.gateway.batches.line_check import LineCheck
from descant.gateway.batches.listing import find, list_object
from descant.gateway.batches.owner_tags import OwnerTags
from descant.gateway.batches.upload_form import UploadForm
from descant.gateway.config import BatchesConfig
from descant.gateway.dialects.document import text_in
from descant.schema.errors import BodyTooLarge, BodyTooSlow, ClientGone, InputError

PATH = "/v1/files"
_MOST_LISTED = 10_000
_PAGE = 1000


class Files:
    """Uploads, lists and deletes; every id it takes and gives is tagged."""

    def __init__(self, depot: Depot, tags: OwnerTags, config: BatchesConfig, names: dict[str, str]):
        self._depot = depot
        self._tags = tags
        self._config = config
        self._names = names

    async def create(self, ask: Ask) -> dict[str, Any]:
        """Send an upload on as it comes, and return the new file.

        Raises:
            InputError: it is no form with a file of requests that are open to the caller.
            BodyTooLarge, BodyTooSlow, ClientGone: see there.
        """
        content_type = ask.headers.get(b"content-type", b"").decode("latin-1")
        lines = LineCheck(ask.caller, self._names, self._config.max_line_bytes)
        form = UploadForm(content_type, self._tags.mark(ask.caller.tenant), lines)
        card = await self._depot.upload(PATH, form.boundary, self._pieces(ask, form))
        return self._card(card, ask)

    async def list(self, ask: Ask) -> dict[str, Any]:
        """Return what this tenant has uploaded; outputs are found by their batches."""
        order = ask.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InputError("order is asc or desc.", field="order")
        query = {"order": order, "limit": str(_PAGE), "purpose": "batch"}
        mark = self._tags.mark(ask.caller.tenant) + "."
        after = ask.query.get("after")

        async def fetch(last: str | None) -> dict[str, Any]:
            return await self._depot.ask("GET", PATH, query | ({"after": last} if last else {}))

        found = await find(
            fetch,
            lambda card: text_in(card, "filename").startswith(mark),
            after and self._tags.raw("file", ask.caller.tenant, after),
            ask.limit(_MOST_LISTED, _MOST_LISTED),
        )
        return list_object([self._card(card, ask) for card in found.cards], found.has_more)

    async def get(self, ask: Ask, shown_id: str) -> dict[str, Any]:
        """Return one file's card."""
        return self._card(await self._depot.ask("GET", self._path(ask, shown_id)), ask)

    async def delete(self, ask: Ask, shown_id: str) -> dict[str, Any]:
        """Remove one file."""
        said = await self._depot.ask("DELETE", self._path(ask, shown_id))
        return {"id": shown_id, "object": "file", "deleted": said.get("deleted", True) is True}

    def _path(self, ask: Ask, shown_id: str) -> str:
        return f"{PATH}/{self._tags.raw('file', ask.caller.tenant, shown_id)}"

    def _card(self, card: dict[str, Any], ask: Ask) -> dict[str, Any]:
        tenant = ask.caller.tenant
        filename = text_in(card, "filename").removeprefix(self._tags.mark(tenant) + ".")
        shown_id = self._tags.shown("file", tenant, text_in(card, "id"))
        return {**card, "id": shown_id, "filename": filename}

    async def _pieces(self, ask: Ask, form: UploadForm) -> AsyncIterator[bytes]:
        left, has_more = self._config.max_upload_bytes, True
        while has_more:
            data, has_more = await self._receive(ask)
            left -= len(data)
            if left < 0:
                most = self._config.max_upload_bytes
                raise BodyTooLarge(f"The upload has more than {most} bytes.", remedy="Split it.")
            if piece := form.feed(data):
                yield piece
        yield form.finish()

    async def _receive(self, ask: Ask) -> tuple[bytes, bool]:
        pause_s = self._config.upload_pause_s
        try:
            async with asyncio.timeout(pause_s):
                message = await ask.receive()
        except TimeoutError as error:
            raise BodyTooSlow(f"Nothing of the upload came for {pause_s:g} s.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone("The caller hung up before the upload was whole.")
        return message.get("body", b""), bool(message.get("more_body"))
