"""The load from several processes, so that no one of them is the bottleneck."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool

import uvloop
from benchmarks.gateway.child import end_with_parent
from benchmarks.gateway.load.generator import generate
from benchmarks.gateway.load.measured import Measured
from benchmarks.gateway.load.spec import Load


@dataclass(frozen=True)
class LoadProcesses:
    """Processes that are up and send what they are given."""

    pool: Pool
    count: int

    @classmethod
    @contextlib.contextmanager
    def started(cls, count: int, cores: Sequence[int]) -> Iterator[LoadProcesses]:
        """Start them on these cores; they end with the block."""
        context = multiprocessing.get_context("spawn")
        # A pool that is left ends its processes, whatever they do then.
        with context.Pool(count, _settle, (tuple(cores),)) as pool:
            yield cls(pool, count)

    def drive(self, load: Load) -> Measured:
        """Send a load from all of them at once and return what they measured together."""
        measured = Measured()
        for part in self.pool.map(_generate, load.split(self.count), chunksize=1):
            measured.merge(part)
        return measured


def _settle(cores: Sequence[int]) -> None:
    os.sched_setaffinity(0, cores)
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _generate(load: Load) -> Measured:
    gc.collect()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(generate(load))
    gc.enable()
    return measured
