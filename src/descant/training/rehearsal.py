"""A few real readings and steps of a run, timed: what the rest will take follows from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from descant.training.one_pass import OnePassTrainer
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

    The trainer has learned from them afterwards and is of no further use. It should keep all
    readings, so that a step is timed apart from its readings.
    """
    largest = max(shape.batches, key=shape.tail_tokens)
    step_bytes = _saved_bytes(trainer, largest)
    started, already_read = clock(), trainer.readings.num_tokens_read
    read_s = tail_s = 0.0
    steps = tail_tokens = 0
    for batch in _spread(shape.batches):
        times = [clock()]
        _read(trainer, batch)
        times.append(clock())
        trainer.train_step(batch)
        times.append(clock())
        read_s += times[1] - times[0]
        tail_s += times[2] - times[1]
        steps += 1
        tail_tokens += shape.tail_tokens(batch)
        if clock() - started > limit_s:
            break
    read_tokens = trainer.readings.num_tokens_read - already_read
    kept, resident = trainer.readings.num_bytes, _resident_bytes()
    return Rehearsal(steps, read_tokens, read_s, tail_tokens, tail_s, step_bytes, kept, resident)


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
