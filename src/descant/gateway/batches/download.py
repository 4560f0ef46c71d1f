"""A file's bytes on their way to a caller, counted whole whether the caller takes them all or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from descant.gateway.batches.output_usage import ModelUsage, OutputUsage
from descant.schema.errors import DeadlineExceeded, InputError, UpstreamFailed

STALL_S = 60.0
"""A caller who takes nothing for so long is given no more."""

Give = Callable[[bytes], Awaitable[None]]


class Download:
    """One file of the upstream; to be passed on once."""

    def __init__(self, raw_id: str, response: aiohttp.ClientResponse):
        self.raw_id = raw_id
        self._response = response

    @property
    def length(self) -> str | None:
        """The number of its bytes, where the upstream says it."""
        return self._response.headers.get("content-length")

    async def pass_on(self, give: Give) -> list[ModelUsage]:
        """Give every piece away and return what the file says of usage.

        A caller who hangs up or stalls does not get by without being counted: the rest is read anyway.

        Raises:
            UpstreamFailed: the upstream broke off; nothing is known of the file's usage then.
            DeadlineExceeded: the caller stalled; raised once the file is read, see `usage`.
        """
        count, is_taken = OutputUsage(), True
        async with self._response:
            try:
                async for piece in self._response.content.iter_any():
                    count.feed(piece)
                    is_taken = is_taken and await _gives(give, piece)
            except (aiohttp.ClientError, OSError, TimeoutError, InputError) as error:
                raise UpstreamFailed("The upstream broke off within the file.") from error
        found = count.end()
        if not is_taken:
            raise Stalled(found)
        return found


class Stalled(DeadlineExceeded):
    """A caller did not take a file; what the file says of usage is known all the same."""

    def __init__(self, found: list[ModelUsage]):
        super().__init__(f"Nothing of the file was taken for {STALL_S:g} s.")
        self.found = found


async def _gives(give: Give, piece: bytes) -> bool:
    try:
        async with asyncio.timeout(STALL_S):
            await give(piece)
    except TimeoutError:
        return False
    return True
