"""Every active adapter's matrices at one layer and site, a slot each, and the product with them.

Plain matrices are multiplied in batched products, one for each run of neighbouring slots, and run
anywhere. Where the processor has AMX they are cut into tiles once, without the zeros between the
modules of a site; one C++ operation then reads every adapter where it lies, whatever its slot.
Adapter weights are never copied, least of all once per token.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.model import SITE_MODULES, ModelConfig, Site, has_amx, to_tiles

# What one step of a tiled product takes.
_TILE_ROWS, _TILE_INPUTS, _TILE_RANKS = 16, 32, 16


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


class LowRankStack(Protocol):
    """Matrices by slot."""

    @property
    def num_bytes(self) -> int:
        """What all slots take."""
        ...

    def put(self, slot: int, shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> None:
        """Store an adapter's fused matrices (see `descant.model.fuse`)."""
        ...

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """Add to y, in place, the update of every row that has a slot.

        Semantics:
            y[t] += x[t] @ shrink[a] @ expand[a]   where a is the slot of token t
        """
        ...


class PlainStack:
    """Plain matrices in batched products: the slow twin of `TiledStack`."""

    def __init__(self, num_slots: int, config: ModelConfig, site: Site, rank: int, like: Tensor):
        inputs, widths = _widths(config, site)
        fused = rank * len(widths)
        self.shrink = like.new_zeros(num_slots, inputs, fused)
        self.expand = like.new_zeros(num_slots, fused, sum(widths))

    @staticmethod
    def padded_rank(rank: int) -> int:
        """Return the rank that a slot for adapters of this rank has."""
        return rank

    @staticmethod
    def bytes_per_slot(config: ModelConfig, site: Site, rank: int, dtype: torch.dtype) -> int:
        """Return what one slot takes."""
        inputs, widths = _widths(config, site)
        return rank * len(widths) * (inputs + sum(widths)) * dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """What all slots take."""
        return self.shrink.nbytes + self.expand.nbytes

    def put(self, slot: int, shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> None:
        """See `LowRankStack.put`."""
        self.shrink[slot] = shrink
        self.expand[slot] = expand

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """See `LowRankStack.apply`."""
        for run in rows.runs:
            own = x[run.rows].view(run.num_slots, run.rows_each, -1)
            low_rank = torch.bmm(own, self.shrink[run.slots])
            out = y[run.rows].view(run.num_slots, run.rows_each, -1)
            out.baddbmm_(low_rank, self.expand[run.slots])


class TiledStack:
    """Matrices in AMX tiles; ranks are padded to sixteen."""

    def __init__(self, num_slots: int, config: ModelConfig, site: Site, rank: int, like: Tensor):
        inputs, self._widths = _widths(config, site)
        rank_tiles = rank // _TILE_RANKS
        depth, outputs = inputs // _TILE_INPUTS, sum(self._widths) // _TILE_ROWS
        self._shrink = like.new_zeros(
            num_slots, rank_tiles * len(self._widths), depth, _TILE_ROWS, _TILE_INPUTS // 2, 2
        )
        self._expand = like.new_zeros(
            num_slots, outputs, rank_tiles, _TILE_RANKS // 2, _TILE_ROWS, 2
        )
        self._starts = torch.tensor([0, *itertools.accumulate(self._widths)])

    @staticmethod
    def padded_rank(rank: int) -> int:
        """Return the rank that a slot for adapters of this rank has."""
        return -(-rank // _TILE_RANKS) * _TILE_RANKS

    @staticmethod
    def bytes_per_slot(config: ModelConfig, site: Site, rank: int, dtype: torch.dtype) -> int:
        """Return what one slot takes."""
        inputs, widths = _widths(config, site)
        padded = TiledStack.padded_rank(rank)
        return padded * (inputs * len(widths) + sum(widths)) * dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """What all slots take."""
        return self._shrink.nbytes + self._expand.nbytes

    def put(self, slot: int, shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> None:
        """See `LowRankStack.put`."""
        self._shrink[slot] = to_tiles(shrink.T)
        rank, starts = shrink.shape[1] // len(self._widths), self._starts.tolist()
        for index, (first, stop) in enumerate(itertools.pairwise(starts)):
            block = expand[index * rank : (index + 1) * rank, first:stop]
            tiles = block.reshape(rank // 16, 8, 2, (stop - first) // 16, 16).permute(3, 0, 1, 4, 2)
            self._expand[slot, first // 16 : stop // 16] = tiles

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """See `LowRankStack.apply`."""
        torch.ops.descant.low_rank_tiles.default(
            y, x, self._shrink, self._expand, rows.groups, self._starts
        )


StackKind = type[PlainStack] | type[TiledStack]


def choose_stack(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> StackKind:
    """Return the quickest kind of stack for this model on this machine."""
    sizes = [_widths(config, site) for site in SITE_MODULES]
    fits = all(inputs % _TILE_INPUTS == 0 for inputs, _ in sizes) and all(
        width % _TILE_ROWS == 0 for _, widths in sizes for width in widths
    )
    return TiledStack if fits and has_amx(device, dtype) else PlainStack


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


def _widths(config: ModelConfig, site: Site) -> tuple[int, list[int]]:
    """Return a site's inputs, and the outputs of each of its modules."""
    modules = SITE_MODULES[site]
    return config.in_features(modules[0]), [config.out_features(module) for module in modules]
