"""A few real readings and steps of a run, timed: what the rest will take follows from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from descant.training.one_pass import OnePassTrainer
from descant.training.readings import ReadingStore
from descant.training.schedule import Batch
from descant.training.workload import RunShape, Workload

# As many batches are tried, spread over the run, as there is time for.
_MOST_BATCHES = 16


@dataclass(frozen=True)
class Rehearsal:
    """What a few batches of the run took; the first one, which warms up, is not timed."""

    steps: int
    read_tokens: int
    read_s: float
    tail_tokens: int
    tail_s: float
    step_bytes: int
    """What the largest step keeps for its way back."""
    readings_bytes: int
    """Of the batch with the largest readings; one batch's are kept at a time."""
    resident_bytes: int | None
    """Of the whole process at the end; None where the system does not say."""

    def time_s(self, workload: Workload) -> float:
        """Return how long a whole run takes at this pace."""
        return self.reading_s(workload) + self.learning_s(workload)

    def reading_s(self, workload: Workload) -> float:
        """Return how long its conversations take to read."""
        return self.read_s / max(self.read_tokens, 1) * workload.read_tokens

    def learning_s(self, workload: Workload) -> float:
        """Return how long its steps behind the readings take."""
        return self.tail_s / self.tail_tokens * workload.tail_tokens


def rehearse(
    trainer: OnePassTrainer, shape: RunShape, clock: Callable[[], float], limit_s: float
) -> Rehearsal:
    """Run the largest step and then some of the run's batches, for about `limit_s`.

    The trainer has learned from them afterwards and is of no further use.
    """
    step_bytes = _saved_bytes(trainer, max(shape.batches, key=shape.tail_tokens))
    started = clock()
    tried: list[_Timed] = []
    for batch in _spread(shape.batches):
        tried.append(_time(trainer, batch, clock))
        if clock() - started > limit_s:
            break
    return Rehearsal(
        steps=len(tried),
        read_tokens=sum(one.read_tokens for one in tried),
        read_s=sum(one.read_s for one in tried),
        tail_tokens=sum(shape.tail_tokens(one.batch) for one in tried),
        tail_s=sum(one.tail_s for one in tried),
        step_bytes=step_bytes,
        readings_bytes=max(one.readings_bytes for one in tried),
        resident_bytes=_resident_bytes(),
    )


class _Timed(NamedTuple):
    batch: Batch
    read_tokens: int
    readings_bytes: int
    read_s: float
    tail_s: float


def _time(trainer: OnePassTrainer, batch: Batch, clock: Callable[[], float]) -> _Timed:
    begin = clock()
    _read(trainer, batch)
    half = clock()
    trainer.train_step(batch)
    readings = trainer.readings
    return _Timed(batch, readings.num_tokens_read, readings.num_bytes, half - begin, clock() - half)


def _spread(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield batches from all over the run, those far apart first."""
    count = min(len(batches), _MOST_BATCHES)
    evenly = [batches[at * len(batches) // count] for at in range(count)]
    stride = 4
    for start in range(stride):
        yield from evenly[start::stride]


def _resident_bytes() -> int | None:
    """Return the memory that this process has in use (proc(5): statm counts pages)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _read(trainer: OnePassTrainer, batch: Batch) -> None:
    # Nothing is known from before, and everything is kept: the step is then timed without it.
    trainer.readings = ReadingStore(trainer.model, trainer.kernel, sys.maxsize)
    trainer.readings.get(batch.conversations, [e.prefix_ids for e in trainer.examples])
    if trainer.model.device.type == "cuda":
        torch.cuda.synchronize(trainer.model.device)


def _saved_bytes(trainer: OnePassTrainer, batch: Batch) -> int:
    """Return how much autograd keeps of a step, the model's own weights apart."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in trainer.model.parameters()}
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    _read(trainer, batch)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        trainer.train_step(batch)
    return sum(sizes.values())
