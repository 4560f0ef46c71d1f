"""One piece of work at a time for each key, however many threads ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """Lets the first to ask do the work and gives its result, or its error, to all who wait.

    Nothing is remembered: who asks when the work is over starts it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Result]] = {}

    def run(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """Return what `work` returns; it runs in the calling thread, or has begun in another."""
        with self._lock:
            others = self._under_way.get(key)
            if others is None:
                mine = self._under_way[key] = Future()
        if others is not None:
            return others.result()
        self._work(key, work, mine)
        return mine.result()

    def _work(self, key: Hashable, work: Callable[[], Result], future: Future[Result]) -> None:
        try:
            future.set_result(work())
        # Whatever ends the work must also end the waiting; every one of the threads raises it.
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._lock:
                del self._under_way[key]
