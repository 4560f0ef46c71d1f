from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from descant.adapters.single_flight import SingleFlight
from descant.schema.errors import InvalidAdapter

NUM_WAITING = 6


class Key:
    """Tells whenever it is looked up: once under the lock, a caller has either joined or started."""

    def __init__(self) -> None:
        self.looked_up = threading.Semaphore(0)

    def __hash__(self) -> int:
        self.looked_up.release()
        return 1


class Work:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> object:
        self.calls += 1
        self.begun.set()
        assert self.may_end.wait(30)
        if self.error is not None:
            raise self.error
        return object()


def all_at_once(work: Work) -> list[object]:
    """Return what each of several threads gets that ask while the work is under way."""
    flights: SingleFlight[object] = SingleFlight()
    key = Key()
    with ThreadPoolExecutor(NUM_WAITING + 1) as threads:
        asked = [threads.submit(flights.run, key, work)]
        assert work.begun.wait(30)
        while key.looked_up.acquire(blocking=False):
            pass
        asked += [threads.submit(flights.run, key, work) for _ in range(NUM_WAITING)]
        for _ in range(NUM_WAITING):
            assert key.looked_up.acquire(timeout=30)
        # The lock is free again only when the last one has joined.
        flights.run("another", lambda: None)
        work.may_end.set()
        return [future.exception(30) or future.result(30) for future in asked]


def test_all_who_ask_meanwhile_get_the_one_result() -> None:
    work = Work()
    results = all_at_once(work)
    assert work.calls == 1
    assert len(results) == NUM_WAITING + 1
    assert len(set(map(id, results))) == 1


def test_all_who_ask_meanwhile_get_the_one_error() -> None:
    work = Work(InvalidAdapter("broken"))
    assert all_at_once(work) == [work.error] * (NUM_WAITING + 1)
    assert work.calls == 1


def test_nothing_is_remembered() -> None:
    flights: SingleFlight[int] = SingleFlight()
    with pytest.raises(ZeroDivisionError):
        flights.run("key", lambda: 1 // 0)
    assert flights.run("key", lambda: 2) == 2
    assert flights.run("key", lambda: 3) == 3


def test_other_keys_do_not_wait() -> None:
    flights: SingleFlight[object] = SingleFlight()
    work = Work()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(flights.run, "slow", work)
        assert work.begun.wait(30)
        assert flights.run("quick", lambda: "done") == "done"
        assert not slow.done()
        work.may_end.set()
