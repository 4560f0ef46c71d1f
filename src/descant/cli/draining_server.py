"""A server that leaves in two steps, as orchestrators and people expect of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from descant.monitoring import Drain


class DrainingServer(uvicorn.Server):
    """The first signal sends new requests elsewhere and lets running ones end; the second ends all.

    Until the last one has ended, or the time is over, the port stays open: callers are told 503 and
    when to come back, which a closed port cannot say.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        drain_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._clock = clock
        self._ends_at_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal; uvicorn would raise it again in the end, as if it had killed us."""
        if self._ends_at_s is None:
            self._drain.begin()
            self._ends_at_s = self._clock() + self._drain_s
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to end; asked ten times a second."""
        if self._ends_at_s is not None:
            self.should_exit |= self._drain.is_idle or self._clock() >= self._ends_at_s
        return await super().on_tick(counter)
