from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import date
from pathlib import Path

from descant.gateway.ledger import LedgerPlace
from tests.gateway.ledger.books import ids, ledger

ROOT = Path(__file__).parents[3]
MOST_LOST_S = 1.0
DAY = date(2026, 11, 1)


def start(place: str, name: str, most: int) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.gateway.ledger.steady_writer", place, name, str(most)]
    return subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE)


def test_a_kill_takes_nothing_older_than_a_second_and_doubles_nothing(place: str) -> None:
    moments = random.Random(6)
    with ledger(place) as opened:
        opened.flush()
    names = "abcde" if LedgerPlace.parse(place).file else "ab"
    children = {name: start(place, name, 1_000_000) for name in names}
    first = {name: child.stdout.readline() for name, child in children.items() if child.stdout}
    lost_s, num_written = [], 0
    for name, child in children.items():
        time.sleep(moments.uniform(0.2, 0.6))
        killed_s = time.monotonic()
        child.send_signal(signal.SIGKILL)
        written = said(first[name] + child.communicate(timeout=60)[0], name)
        num_written += len(written)
        with ledger(place) as opened:
            opened.flush()
            assert opened.state.refused == 0
        kept = set(ids(place))
        lost_s += [killed_s - when for id, when in written.items() if id not in kept]
    assert max(lost_s, default=0.0) < MOST_LOST_S
    assert_sound(place)
    assert_each_is_paid_once(place, num_written)


def said(output: bytes, name: str) -> dict[str, float]:
    """Which records a writer wrote, and when; a last line that the kill cut counts for nothing."""
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    return {f"{name}-{number.decode()}": float(when) for number, when in lines}


def assert_each_is_paid_once(place: str, num_written: int) -> None:
    kept = ids(place)
    assert len(kept) == len(set(kept))
    # A kill may come between writing and saying so.
    assert 0 < len(kept) <= num_written + 5
    with ledger(place) as opened:
        assert opened.spent(DAY) == {("tenant", "quality"): len(kept), ("key", "team"): len(kept)}


def assert_sound(place: str) -> None:
    parsed = LedgerPlace.parse(place)
    assert parsed.waiting is not None
    assert list(parsed.waiting.iterdir()) == []
    if parsed.file is not None:
        with closing(sqlite3.connect(parsed.file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_processes_keep_the_same_books_at_once(place: str) -> None:
    children = [start(place, name, 200) for name in ("one", "two")]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert [len(each.splitlines()) for each in said] == [200, 200]
    expected = {f"{name}-{number}" for name in ("one", "two") for number in range(200)}
    found = ids(place)
    assert len(found) == 400
    assert set(found) == expected
    with ledger(place) as opened:
        assert opened.spent(DAY)["tenant", "quality"] == 400
    assert_sound(place)
