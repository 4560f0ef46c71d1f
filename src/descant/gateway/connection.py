"""Whether a caller is still there while it is answered."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from descant.gateway.body import Receive
from descant.schema.errors import ClientGone


class Connection:
    """Ends what is done inside it, by `ClientGone`, once the caller has hung up."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self._is_gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self._task = task
        self._watch = asyncio.ensure_future(self._wait())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.cancel()
        if self._is_gone and not self._task.uncancel() and kind is asyncio.CancelledError:
            raise ClientGone("The caller hung up.") from None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._task.cancel()
