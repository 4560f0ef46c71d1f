"""Which rows of a step have which adapter slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

# Rows that a tile of a tiled product holds.
_TILE_ROWS = 16


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


class StepRows:
    """Which rows of a step have which slot."""

    def __init__(self, runs: Sequence[AdapterRun]):
        self.runs = runs

    @cached_property
    def groups(self) -> Int[Tensor, "N 3"]:
        """Slot, first row and number of rows, of at most as many neighbouring rows as a tile has."""
        groups = [
            (slot, row, min(_TILE_ROWS, own.stop - row))
            for slot, own in self.by_slot()
            for row in range(own.start, own.stop, _TILE_ROWS)
        ]
        return torch.tensor(groups, dtype=torch.int64)

    def by_slot(self) -> Iterator[tuple[int, slice]]:
        """Yield slot and rows, once for each slot of each run."""
        for run in self.runs:
            for index in range(run.num_slots):
                first = run.first_row + index * run.rows_each
                yield run.first_slot + index, slice(first, first + run.rows_each)


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
