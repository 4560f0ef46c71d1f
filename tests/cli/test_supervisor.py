"""Workers that cannot begin, that die and that hang."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from descant.cli.supervisor import Supervisor

_LONG_S = 60.0


def leave(starts: Path, link: Connection) -> None:
    """End before serving."""
    note(starts)


def die_once(starts: Path, link: Connection) -> None:
    """Serve and end; whoever takes the place has the supervisor end."""
    os.write(link.fileno(), b".")
    if note(starts) > 1:
        stay()


def hang_once(starts: Path, link: Connection) -> None:
    """Serve and say nothing more; whoever takes the place has the supervisor end."""
    os.write(link.fileno(), b".")
    if note(starts) > 1:
        stay()
    time.sleep(_LONG_S)


def note(starts: Path) -> int:
    with starts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(starts.read_text().split())


def stay() -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(_LONG_S)


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    return tmp_path / "starts"


def test_workers_that_cannot_begin_end_it(starts: Path) -> None:
    assert not Supervisor(leave, (starts,), drain_s=5.0).run(1)
    assert len(starts.read_text().split()) == 1


def test_another_takes_the_place_of_one_that_died(starts: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert Supervisor(die_once, (starts,), drain_s=5.0).run(1)
    assert len(set(starts.read_text().split())) == 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_that_hangs_is_killed_and_replaced(
    starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.cli.supervisor._MOST_SILENT_S", 0.3)
    assert Supervisor(hang_once, (starts,), drain_s=5.0).run(1)
    assert len(set(starts.read_text().split())) == 2
