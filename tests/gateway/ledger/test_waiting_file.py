from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from descant.gateway.ledger.intake import Intake, LedgerBounds
from descant.gateway.ledger.waiting_file import WaitingFile
from tests.gateway.ledger.books import record

LINES = st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\n", b".") + b"\n"))


class Machine(RuleBasedStateMachine):
    """A waiting file beside a list of lines."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.file = WaitingFile.create(self.path)
        self.lines: list[bytes] = []

    @rule(lines=LINES)
    def append(self, lines: list[bytes]) -> None:
        self.file.append(b"".join(lines))
        self.lines += lines

    @rule(most=st.integers(1, 30))
    def ship(self, most: int) -> None:
        found = self.file.first(most)
        num_lines = found.count(b"\n")
        assert found == b"".join(self.lines[:num_lines])
        assert bool(found) == bool(self.lines)
        assert len(found) <= max(most, len(self.lines[0]) + most if self.lines else 0)
        self.file.forget(len(found))
        del self.lines[:num_lines]

    @rule()
    def nobody_else_takes_it(self) -> None:
        assert list(WaitingFile.left_in(self.path)) == []

    @invariant()
    def says_how_much_waits(self) -> None:
        assert self.file.num_bytes == sum(map(len, self.lines))

    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestMachine = Machine.TestCase


def test_the_next_one_takes_what_waits_from_its_beginning(tmp_path: Path) -> None:
    file = WaitingFile.create(tmp_path)
    file.append(b"one\ntwo\nthree\n")
    file.forget(4)
    file.close()
    (left,) = WaitingFile.left_in(tmp_path)
    # What was shipped already comes again: the database passes it over.
    assert left.first(100) == b"one\ntwo\nthree\n"
    left.forget(14)
    left.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_which_nothing_waits_is_removed(tmp_path: Path) -> None:
    file = WaitingFile.create(tmp_path)
    file.append(b"one\n")
    file.forget(4)
    file.close()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_records_in_memory_and_no_half_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = WaitingFile.create(tmp_path)
    intake = Intake(file, LedgerBounds(), clock=lambda: 0.0)
    records = [record(f"r{at}") for at in range(200)]
    lines = [each.to_line() for each in records]
    for each in records:
        intake.take(each)
    with files_no_larger_than(len(b"".join(lines[:100]))):
        assert intake.move()
    assert "cannot be written to the disk" in caplog.text
    assert file.first(10**6) == b"".join(lines[:64])
    assert intake.move()
    assert file.first(10**6) == b"".join(lines)
    assert not intake.move()
    assert intake.lost.count == 0
    file.close()
