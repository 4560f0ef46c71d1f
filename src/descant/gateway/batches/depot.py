"""The upstream that keeps files and batches, asked under the gateway's own key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from descant.gateway.dialects.document import dump, parse_object
from descant.gateway.dialects.openai import OpenAIDialect
from descant.gateway.failures import stated_wait_s
from descant.gateway.upstream import MOST_REFUSAL_BYTES, Upstream, read_some, read_whole
from descant.schema.errors import (
    DeadlineExceeded,
    DescantError,
    GarbledAnswer,
    UpstreamFailed,
    UpstreamsBusy,
)

_ABOUT_THE_REQUEST = frozenset({400, 404, 409, 413, 415, 422})
_DONE = frozenset({200, 201, 204})
"""Azure says 201 of a new file and 204 of one that is gone."""
_BUSY = frozenset({429, 503})
_USUAL_WAIT_S = 5.0


class DepotRefused(Exception):
    """The upstream says what is wrong with the request; `body` is as OpenAI writes errors."""

    def __init__(self, status: int, body: bytes):
        super().__init__(str(status))
        self.status = status
        self.body = body


class Depot:
    """One upstream's files and batches, of all tenants together."""

    def __init__(
        self,
        upstream: Upstream,
        dialect: OpenAIDialect,
        deadline_s: float,
        wall_clock: Callable[[], float],
    ):
        self.name = upstream.name
        self._upstream = upstream
        self._dialect = dialect
        self._deadline_s = deadline_s
        self._wall_clock = wall_clock

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the object that the upstream answers.

        Raises:
            DepotRefused, UpstreamFailed, UpstreamsBusy, DeadlineExceeded, GarbledAnswer: see there.
        """
        data = None if body is None else dump(body)
        headers = {"content-type": "application/json"} if body is not None else {}
        response = await self.open(method, path, query, data=data, headers=headers)
        return await self._object(response)

    async def upload(
        self, path: str, boundary: str, pieces: AsyncIterator[bytes]
    ) -> dict[str, Any]:
        """Send a form as its pieces come and return what the upstream answers.

        Raises:
            DepotRefused, UpstreamFailed, UpstreamsBusy, DeadlineExceeded, GarbledAnswer: see there.
            DescantError: whatever `pieces` raised; the upstream then has no whole request.
        """
        watched = _Watched(pieces)
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        try:
            response = await self.open("POST", path, data=watched.pieces(), headers=headers)
        except DescantError:
            if watched.error is not None:
                raise watched.error from None
            raise
        return await self._object(response)

    async def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        **sent: Any,
    ) -> aiohttp.ClientResponse:
        """Return the upstream's answer once its head is here; to be closed.

        Raises:
            DepotRefused: it says that the request is wrong.
            UpstreamsBusy: it takes no more for now.
            UpstreamFailed: it cannot be reached, or failed.
            DeadlineExceeded: it took too long.
        """
        sent["headers"] = {
            "accept": "*/*",
            "accept-encoding": "identity",
            **sent.get("headers", {}),
            **self._dialect.headers,
        }
        try:
            async with asyncio.timeout(self._deadline_s):
                response = await self._upstream.session.request(
                    method, self._url(path, query), allow_redirects=False, **sent
                )
                if response.status not in _DONE:
                    raise await self._refused(response)
                return response
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} took too long.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(f"{self.name} cannot be reached.") from error

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        address = self._upstream.address.origin + self._dialect.place(path)
        if query:
            address += ("&" if "?" in address else "?") + urlencode(query)
        return URL(address, encoded=True)

    async def _object(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._deadline_s), response:
                data = await read_whole(response)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} took too long.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(f"{self.name} broke off.") from error
        document = {} if response.status == 204 else parse_object(data)
        if document is None:
            raise GarbledAnswer(f"{self.name} answered no JSON object.")
        return document

    async def _refused(self, response: aiohttp.ClientResponse) -> Exception:
        body = await read_some(response, MOST_REFUSAL_BYTES)
        response.close()
        status = response.status
        if status in _ABOUT_THE_REQUEST:
            return DepotRefused(status, self._dialect.refusal(status, response.headers, body))
        if status in _BUSY:
            now_utc = datetime.fromtimestamp(self._wall_clock(), UTC)
            wait_s = stated_wait_s(status, response.headers, now_utc) or _USUAL_WAIT_S
            return UpstreamsBusy(f"{self.name} takes no more for now.", wait_s, status)
        return UpstreamFailed(f"{self.name} failed with status {status}.")


class _Watched:
    """Remembers why there were no more pieces: the client says only that it could not send them."""

    def __init__(self, pieces: AsyncIterator[bytes]):
        self._pieces = pieces
        self.error: DescantError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except DescantError as error:
            self.error = error
            raise
