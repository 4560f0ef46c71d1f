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


def written_before_the_kill(
    place: str, name: str, seconds: float
) -> tuple[dict[str, float], float]:
    """Run a writer for so long behind its first record; what it wrote when, and when it was killed."""
    child = start(place, name, 1_000_000)
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(seconds)
    killed_s = time.monotonic()
    child.send_signal(signal.SIGKILL)
    said = [first, *child.stdout.read().splitlines(keepends=True)]
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    pairs = [line.split() for line in said if line.endswith(b"\n")]
    return {f"{name}-{number.decode()}": float(when) for number, when in pairs}, killed_s


def test_a_kill_takes_nothing_older_than_a_second_and_doubles_nothing(place: str) -> None:
    moments = random.Random(6)
    num_written = 0
    for kill in range(5):
        written, killed_s = written_before_the_kill(place, f"k{kill}", moments.uniform(0.1, 1.4))
        with ledger(place) as opened:
            opened.flush()
            assert opened.state.refused == 0
        found = set(ids(place))
        lost = [killed_s - when for id, when in written.items() if id not in found]
        assert max(lost, default=0.0) < MOST_LOST_S
        num_written += len(written)
    assert_sound(place)
    kept = ids(place)
    assert len(kept) == len(set(kept))
    assert 0 < len(kept) <= num_written
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
    children = [start(place, name, 300) for name in ("one", "two")]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert [len(each.splitlines()) for each in said] == [300, 300]
    expected = {f"{name}-{number}" for name in ("one", "two") for number in range(300)}
    found = ids(place)
    assert len(found) == 600
    assert set(found) == expected
    with ledger(place) as opened:
        assert opened.spent(DAY)["tenant", "quality"] == 600
    assert_sound(place)
