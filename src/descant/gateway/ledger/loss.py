"""Records that could not be kept: counted, and said in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)
_SAY_EVERY_S = 10.0


class Loss:
    """Counts for one reason; says at once that it began, and then now and again how many there are."""

    def __init__(self, reason: str, clock: Callable[[], float]):
        self._reason = reason
        self._clock = clock
        self._lock = threading.Lock()
        self._count = self._said = 0
        self._said_s = -_SAY_EVERY_S

    @property
    def count(self) -> int:
        """How many since the start."""
        return self._count

    def add(self, count: int) -> None:
        """Count them; from any thread."""
        with self._lock:
            self._count += count

    def say(self) -> None:
        """Log what was not logged yet, if the last time is a while ago."""
        if self._clock() - self._said_s >= _SAY_EVERY_S:
            self.say_rest()

    def say_rest(self) -> None:
        """Log what was not logged yet."""
        if self._count == self._said:
            return
        _log.error("%d usage records %s.", self._count - self._said, self._reason)
        self._said, self._said_s = self._count, self._clock()
