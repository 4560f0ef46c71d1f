"""Keeps processes alive that serve one socket together, and ends them in order."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

_log = logging.getLogger("uvicorn.error")
_LOOK_S = 0.2
_PAUSE_S = 1.0
"""The least from one start of a worker to the next that takes its place."""
_MOST_SILENT_S = 30.0
"""A worker that serves and whose event loop did not turn for so long is replaced."""
_GRACE_S = 10.0
"""Beside the time to drain, until what has not ended is killed."""
_ENDING = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _Child:
    process: SpawnProcess
    link: Connection
    """It says each second that it serves."""
    started_s: float
    heard_s: float | None = None
    """None: it does not serve yet."""
    unsaid: list[signal.Signals] = field(default_factory=list)
    """What it is told once it serves: before, it does not know the words."""

    def attend(self, now_s: float) -> None:
        """Hear what it said, and say what waits."""
        while self.link.poll():
            if not os.read(self.link.fileno(), 4096):
                return  # It is gone.
            self.heard_s = now_s
        while self.heard_s is not None and self.unsaid:
            self.tell(self.unsaid.pop(0))

    def is_stuck(self, now_s: float) -> bool:
        return self.heard_s is not None and now_s - self.heard_s > _MOST_SILENT_S

    def tell(self, word: signal.Signals) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, word)

    def close(self) -> None:
        self.process.join()
        self.link.close()


class Supervisor:
    """Starts `target(*arguments, link)` in so many processes, and again where one ends unasked.

    A first signal lets them end what they answer, for `drain_s`; a second ends them at once. SIGHUP
    is passed on. Workers that cannot even begin end it all; later their places are tried again.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        drain_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._target, self._arguments = target, arguments
        self._drain_s = drain_s
        self._clock = clock
        self._children: list[_Child] = []
        self._due_s: list[float] = []
        self._words: list[int] = []
        self._killed_from_s: float | None = None
        self._has_begun = False
        self._has_failed = False

    def run(self, count: int) -> bool:
        """Return, once all have ended, whether they could begin."""
        with self._hearing_signals():
            self._due_s = [self._clock()] * count
            while self._children or self._due_s:
                self._start_due()
                connection.wait([child.process.sentinel for child in self._children], _LOOK_S)
                while self._words:
                    self._obey(self._words.pop(0))
                for child in tuple(self._children):
                    self._look_after(child)
        return not self._has_failed

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        former = {
            word: signal.signal(word, lambda number, _: self._words.append(number))
            for word in (*_ENDING, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for word, handler in former.items():
                signal.signal(word, handler)

    def _start_due(self) -> None:
        now_s = self._clock()
        for due_s in [due_s for due_s in self._due_s if due_s <= now_s]:
            self._due_s.remove(due_s)
            self._children.append(self._start(now_s))

    def _start(self, now_s: float) -> _Child:
        ours, theirs = connection.Pipe(duplex=False)
        process = get_context("spawn").Process(
            target=self._target, args=(*self._arguments, theirs), daemon=True
        )
        process.start()
        # The other end is the worker's alone: so each learns when the other is gone.
        theirs.close()
        return _Child(process, ours, now_s)

    def _obey(self, word: int) -> None:
        if word == signal.SIGHUP:
            self._tell_all(signal.SIGHUP)
        elif self._killed_from_s is None:
            self._end()
        else:
            self._tell_all(signal.SIGQUIT)

    def _end(self) -> None:
        self._due_s.clear()
        self._killed_from_s = self._clock() + self._drain_s + _GRACE_S
        for child in self._children:
            child.tell(signal.SIGTERM)

    def _tell_all(self, word: signal.Signals) -> None:
        for child in self._children:
            child.unsaid.append(word)

    def _look_after(self, child: _Child) -> None:
        now_s = self._clock()
        child.attend(now_s)
        self._has_begun |= child.heard_s is not None
        if child.process.is_alive():
            if child.is_stuck(now_s) or self._is_late(now_s):
                _log.error("Worker %s does not answer and is killed.", child.process.pid)
                child.process.kill()
            return
        child.close()
        self._children.remove(child)
        if self._killed_from_s is None:
            self._replace(child, now_s)

    def _is_late(self, now_s: float) -> bool:
        return self._killed_from_s is not None and now_s >= self._killed_from_s

    def _replace(self, child: _Child, now_s: float) -> None:
        pid, code = child.process.pid, child.process.exitcode
        if not self._has_begun:
            _log.error("Worker %s could not begin.", pid)
            self._has_failed = True
            self._end()
            return
        _log.error("Worker %s ended unasked, with %s; another takes its place.", pid, code)
        self._due_s.append(max(now_s, child.started_s + _PAUSE_S))
