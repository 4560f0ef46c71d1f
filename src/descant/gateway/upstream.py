"""One upstream: how it is spoken to, what it may be sent, and how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import aiohttp

from descant.gateway.config import UpstreamConfig
from descant.gateway.dialects import Dialect, UpstreamRequest
from descant.gateway.dialects.openai import OpenAIDialect
from descant.gateway.failures import UpstreamHealth
from descant.gateway.ledger import Prices
from descant.gateway.limits import Claim
from descant.gateway.upstream_address import UpstreamAddress
from descant.gateway.upstream_connector import send
from descant.schema.errors import GarbledAnswer

MOST_ANSWER_BYTES = 64 << 20
MOST_METRICS_BYTES = 4 << 20
MOST_REFUSAL_BYTES = 65_536
"""Of what an upstream says instead of an answer, so much is read."""
_METRICS_S = 2.0
_LISTING_S = 5.0


@dataclass(frozen=True)
class Upstream:
    """All that belongs to one upstream while its settings stay as they are."""

    name: str
    config: UpstreamConfig
    dialect: Dialect
    health: UpstreamHealth
    session: aiohttp.ClientSession
    address: UpstreamAddress
    claims: tuple[Claim, ...]
    """What it may be sent in a minute and at once; none where nothing is said."""
    prices: Prices
    port: int

    async def open(
        self, request: UpstreamRequest, trace: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send a request and return the response once its head is here; it has to be closed.

        Raises:
            aiohttp.ClientError: it cannot be reached, or broke off.
            TimeoutError: it was silent for too long.
        """
        headers = {**request.headers, **trace}
        return await send(self.session, self.address, replace(request, headers=headers))

    async def metrics(self) -> str:
        """Return what it says of itself at ``/metrics``.

        Raises:
            aiohttp.ClientError: it cannot be reached, or has none.
            TimeoutError: it was silent for too long.
        """
        url = f"{self.address.origin}{self.address.path.removesuffix('/v1')}/metrics"
        timeout = aiohttp.ClientTimeout(total=_METRICS_S)
        async with self.session.get(url, allow_redirects=False, timeout=timeout) as response:
            response.raise_for_status()
            text = await read_some(response, MOST_METRICS_BYTES)
            return text.decode(errors="replace")

    async def listing(self) -> bytes:
        """Return the list of its models.

        Raises:
            aiohttp.ClientError: it cannot be reached.
            TimeoutError: it was silent for too long.
            GarbledAnswer: it has no such list.
        """
        if not isinstance(self.dialect, OpenAIDialect):
            raise GarbledAnswer(f"Upstream {self.name} lists no models as OpenAI does.")
        async with (
            asyncio.timeout(_LISTING_S),
            send(self.session, self.address, self.dialect.listing()) as response,
        ):
            response.raise_for_status()
            return await read_some(response, MOST_METRICS_BYTES)


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Return a body.

    Raises:
        GarbledAnswer: no answer has so many bytes.
    """
    body = await read_some(response, MOST_ANSWER_BYTES + 1)
    if len(body) > MOST_ANSWER_BYTES:
        raise GarbledAnswer("The upstream's answer does not end.")
    return body


async def read_some(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Return the beginning of a body."""
    parts = bytearray()
    async for piece in response.content.iter_any():
        parts += piece
        if len(parts) >= most_bytes:
            break
    return bytes(parts[:most_bytes])
