"""Resident memory, and processor time, of a process and all that it started."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_EVERY_S = 0.5


@dataclass
class MemoryWatch:
    """Samples of (seconds, bytes)."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """The highest sample."""
        return max(size for _, size in self.samples)

    def growth_bytes_per_minute(self) -> float:
        """Return the slope of the straight line through the second half of the samples."""
        half = self.samples[len(self.samples) // 2 :]
        middle_s = sum(at_s for at_s, _ in half) / len(half)
        spread = sum((at_s - middle_s) ** 2 for at_s, _ in half)
        return 60 * sum((at_s - middle_s) * size for at_s, size in half) / spread if spread else 0.0


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children, at all depths."""
    return sum(_own_bytes(each) for each in [pid, *descendants(pid)])


def descendants(pid: int) -> list[int]:
    """Return all processes below one, as far as they are there now."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = [int(child) for child in tasks.read_text().split()]
            found += [each for child in children for each in [child, *descendants(child)]]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its children, at all depths, have taken."""
    return sum(_own_cpu_seconds(each) for each in [pid, *descendants(pid)])


@contextlib.contextmanager
def watching(pid: int) -> Iterator[MemoryWatch]:
    """Sample for the length of the block."""
    watch, stop = MemoryWatch(), threading.Event()

    def sample() -> None:
        while True:
            watch.samples.append((time.monotonic(), resident_bytes(pid)))
            if stop.wait(_EVERY_S):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def _own_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _own_cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    user, system = fields[11:13]
    return (int(user) + int(system)) / _TICKS_PER_S
