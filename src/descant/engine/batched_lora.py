"""The low-rank updates of one step, for tokens that are sorted by slot.

Adapter weights are never copied, least of all once per token. Runs of many rows a slot go through
one batched product per run of neighbouring slots; single rows, as when generations decode, through
one C++ operation that reads each adapter where it lies, wherever that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.engine.adapter_pool import AdapterPool
from descant.model import Site, is_native

_MAX_SINGLE_ROWS = 8
"""Measured: with more rows a slot, batched products win."""


@dataclass(frozen=True)
class AdapterRun:
    """Neighbouring rows of a step under neighbouring slots, equally many rows a slot."""

    first_slot: int
    num_slots: int
    first_row: int
    rows_each: int

    @property
    def rows(self) -> slice:
        """The rows of the step it covers."""
        return slice(self.first_row, self.first_row + self.num_slots * self.rows_each)

    @property
    def slots(self) -> slice:
        """The slots it covers."""
        return slice(self.first_slot, self.first_slot + self.num_slots)


class SingleRows(NamedTuple):
    """Rows of a step and the slot of each, in any order."""

    rows: Int[Tensor, " R"]
    slots: Int[Tensor, " R"]


class BatchedLora:
    """The low-rank updates of one step.

    Semantics:
        y[t] += expand[a] @ shrink[a] @ x[t]   where a is the slot of token t; rows in no run keep y
    """

    def __init__(self, pool: AdapterPool, runs: Sequence[AdapterRun]):
        self.pool = pool
        takes_single = is_native(pool.device, pool.dtype)
        short = [run for run in runs if takes_single and run.rows_each <= _MAX_SINGLE_ROWS]
        self.single = single_rows(short) if short else None
        self.runs = [run for run in runs if run not in short]

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Add each run's update to y, in place."""
        stack = self.pool.stack(layer, site)
        if stack is None:
            return y
        if self.single is not None:
            matrices = (stack.shrink, stack.expand)
            torch.ops.descant.low_rank_rows.default(y, x, *matrices, *self.single, stack.starts)
        for run in self.runs:
            rows = x[run.rows].view(run.num_slots, run.rows_each, -1)
            low_rank = torch.bmm(rows, stack.shrink[run.slots])
            out = y[run.rows].view(run.num_slots, run.rows_each, -1)
            out.baddbmm_(low_rank, stack.expand[run.slots])
        return y


def single_rows(runs: Sequence[AdapterRun]) -> SingleRows:
    """Return the rows that runs cover, one by one."""
    pairs = [
        (row, run.first_slot + (row - run.first_row) // run.rows_each)
        for run in runs
        for row in range(run.rows.start, run.rows.stop)
    ]
    rows, slots = torch.tensor(pairs, dtype=torch.int64).unbind(1)
    return SingleRows(rows.contiguous(), slots.contiguous())


def join_runs(runs: Sequence[AdapterRun]) -> list[AdapterRun]:
    """Merge runs that continue each other in rows and slots into longer ones."""
    joined: list[AdapterRun] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last is not None and _continues(last, run):
            joined[-1] = _extend(last, run)
        else:
            joined.append(run)
    return joined


def _continues(last: AdapterRun, run: AdapterRun) -> bool:
    if last.rows.stop != run.first_row:
        return False
    same_slot = last.num_slots == 1 and last.first_slot == run.first_slot
    next_slot = last.slots.stop == run.first_slot and last.rows_each == run.rows_each
    return same_slot or next_slot


def _extend(last: AdapterRun, run: AdapterRun) -> AdapterRun:
    if last.first_slot == run.first_slot:
        return replace(last, rows_each=last.rows_each + run.rows_each)
    return replace(last, num_slots=last.num_slots + run.num_slots)
