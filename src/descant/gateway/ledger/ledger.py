"""The books of the gateway: records in, without waiting; rows in a database, whatever happens.

A record is appended to a list in memory by the request. Five times a second one thread moves what came
to a file on the local disk; another ships that file to the database. So a kill takes at most what came
since the last move, whether or not the database answers, and a row that is shipped twice is passed over.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Self

from descant.gateway.ledger.database import LedgerDatabase, Scope
from descant.gateway.ledger.intake import Intake, LedgerBounds
from descant.gateway.ledger.place import LedgerPlace, refused_place
from descant.gateway.ledger.record import UsageRecord
from descant.gateway.ledger.shipping import Shipping
from descant.gateway.ledger.waiting_file import WaitingFile
from descant.schema.errors import LedgerUnavailable

_log = logging.getLogger(__name__)
_MOVE_EVERY_S = 0.2
_NICENESS = 10
_LOOK_EVERY_S = 10.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 10.0


@dataclass(frozen=True)
class LedgerState:
    """How the books are."""

    is_reachable: bool
    waiting_bytes: int
    """On the local disk."""
    lost: int
    """Records that are nowhere, for a bound was met."""
    refused: int
    """Records that the database did not take, set aside in a file."""


class Ledger:
    """The open books of one process; opened in the process that writes, not before it forks."""

    def __init__(
        self,
        intake: Intake,
        shipping: Shipping,
        database: LedgerDatabase,
        clock: Callable[[], float],
    ):
        self._intake = intake
        self._shipping = shipping
        self._database = database
        self._clock = clock
        self._losses = (intake.lost, intake.unwritable, shipping.refused)
        self._is_reachable = True
        self._shipping_now = threading.Lock()
        self._closing, self._fresh = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_moving, name="ledger-disk", daemon=True),
            threading.Thread(target=self._keep_shipping, name="ledger-database", daemon=True),
        ]

    @classmethod
    def open(
        cls,
        place: str,
        bounds: LedgerBounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open the books, or make them; a database that is not there does not hinder.

        Raises:
            InvalidConfig: the place is none, or its folder cannot be written.
            MissingDependency: PostgreSQL is asked for and its driver is not installed.
        """
        parsed = LedgerPlace.parse(place)
        database = LedgerDatabase(parsed)
        if parsed.waiting is None:
            raise refused_place("does not say in which folder records wait for the database")
        try:
            parsed.waiting.mkdir(parents=True, exist_ok=True)
            file = WaitingFile.create(parsed.waiting)
        except OSError as error:
            reason = f"needs the folder {parsed.waiting}, which cannot be written: {error.strerror}"
            raise refused_place(reason) from error
        intake = Intake(file, bounds or LedgerBounds(), clock)
        ledger = cls(intake, Shipping(parsed.waiting, file, clock), database, clock)
        for thread in ledger._threads:
            thread.start()
        return ledger

    @property
    def state(self) -> LedgerState:
        """How the books are, at no cost."""
        lost = self._intake.lost.count + self._intake.unwritable.count
        shipping = self._shipping
        return LedgerState(self._is_reachable, shipping.num_bytes, lost, shipping.refused.count)

    def write(self, record: UsageRecord) -> None:
        """Take a record; neither waits nor fails."""
        self._intake.take(record)

    def spent(self, since: date) -> dict[tuple[Scope, str], int]:
        """Return the billionths that each tenant and key spent from that UTC day's beginning on.

        Waits, a minute at most, until what this process wrote and what killed ones left is in the
        database: for a start, not for an event loop.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        self.flush()
        return self._database.spent(since)

    def flush(self, *, within_s: float = 60.0) -> None:
        """Bring what was written so far into the database, as far as the time allows.

        Raises:
            LedgerUnavailable: the database does not answer; records wait on the disk.
        """
        until = self._clock() + within_s
        self._intake.move()
        self._ship(lambda: self._clock() < until)

    def close(self, *, within_s: float = 10.0) -> None:
        """End both threads; what the database has not taken by then waits on the disk for the next.

        What is written afterwards is lost, and counted.
        """
        self._closing.set()
        self._fresh.set()
        for thread in self._threads:
            thread.join()
        try:
            self.flush(within_s=within_s)
        except (LedgerUnavailable, OSError) as error:
            _log.warning("%s; %d bytes wait on the disk.", error, self._shipping.num_bytes)
        self._intake.close()
        self._shipping.close()
        self._database.close()
        for loss in self._losses:
            loss.say_rest()

    def _keep_moving(self) -> None:
        _stand_back()
        while not self._closing.wait(_MOVE_EVERY_S):
            if self._intake.move():
                self._fresh.set()
            for loss in self._losses:
                loss.say()

    def _keep_shipping(self) -> None:
        _stand_back()
        retry_s = _FIRST_RETRY_S
        while not self._closing.is_set():
            try:
                self._ship(lambda: not self._closing.is_set())
            except (LedgerUnavailable, OSError) as error:
                _log.warning("%s; records wait on the disk.", error)
                self._closing.wait(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
            else:
                retry_s = _FIRST_RETRY_S
                self._fresh.wait(_LOOK_EVERY_S)
                self._fresh.clear()

    def _ship(self, may_go_on: Callable[[], bool]) -> None:
        with self._shipping_now:
            self._shipping.look_around()
            try:
                self._database.make()
                self._shipping.ship(self._database, may_go_on=may_go_on)
            except LedgerUnavailable:
                self._is_reachable = False
                raise
            self._is_reachable = True


def _stand_back() -> None:
    """Let requests go first where this thread wants the same core; Linux alone has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
