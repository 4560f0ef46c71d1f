"""A thread that looks for changes in a registry again and again, beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

INTERVAL_S = 0.5


class RegistryThread:
    """Calls `follow` every half second, from now on until it is closed."""

    def __init__(self, follow: Callable[[], None], interval_s: float = INTERVAL_S):
        self._follow, self._interval_s = follow, interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="descant-registry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking, once what was begun is done."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._follow()
