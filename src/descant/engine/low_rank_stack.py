"""Every active adapter's matrices at one layer and site, a slot each, and the product with them.

Plain matrices are multiplied in batched products, one for each run of neighbouring slots, and run
anywhere. Where the processor has AMX they are cut into tiles once, without the zeros between the
modules of a site; one C++ operation then reads every adapter where it lies, whatever its slot.
Adapter weights are never copied, least of all once per token.

In int8 a rank has one scale: that of its row of A times that of its column of B.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int, Int8, Shaped
from torch import Tensor

from descant.engine.step_rows import StepRows
from descant.model import (
    SITE_MODULES,
    ModelConfig,
    Site,
    has_amx,
    quantize_channels,
    to_byte_tiles,
    to_tiles,
)
from descant.schema import AdapterDtype

# What one step of a tiled product takes; a tile of bytes takes twice the inputs.
_TILE_ROWS, _TILE_INPUTS, _TILE_RANKS = 16, 32, 16


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


class PlainByteStack:
    """Matrices in int8, brought back at every product: the slow twin of `TiledByteStack`."""

    def __init__(self, num_slots: int, config: ModelConfig, site: Site, rank: int, like: Tensor):
        inputs, widths = _widths(config, site)
        fused = rank * len(widths)
        self._shrink = like.new_zeros(num_slots, inputs, fused, dtype=torch.int8)
        self._expand = like.new_zeros(num_slots, fused, sum(widths), dtype=torch.int8)
        self._scale = like.new_zeros(num_slots, 1, fused, dtype=torch.float32)

    @staticmethod
    def padded_rank(rank: int) -> int:
        """Return the rank that a slot for adapters of this rank has."""
        return rank

    @staticmethod
    def bytes_per_slot(config: ModelConfig, site: Site, rank: int, dtype: torch.dtype) -> int:
        """Return what one slot takes."""
        inputs, widths = _widths(config, site)
        return rank * len(widths) * (inputs + sum(widths) + torch.float32.itemsize)

    @property
    def num_bytes(self) -> int:
        """What all slots take."""
        return self._shrink.nbytes + self._expand.nbytes + self._scale.nbytes

    def put(self, slot: int, shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> None:
        """See `LowRankStack.put`."""
        self._shrink[slot], self._expand[slot], self._scale[slot] = to_byte_matrices(shrink, expand)

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """See `LowRankStack.apply`."""
        for run in rows.runs:
            own = x[run.rows].view(run.num_slots, run.rows_each, -1)
            low_rank = torch.bmm(own, self._shrink[run.slots].to(x.dtype)) * self._scale[run.slots]
            out = y[run.rows].view(run.num_slots, run.rows_each, -1)
            out.baddbmm_(low_rank.to(x.dtype), self._expand[run.slots].to(x.dtype))


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
        self._starts = _starts(self._widths)

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
        _put_tiles(self._expand[slot], expand, self._starts)

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """See `LowRankStack.apply`."""
        torch.ops.descant.low_rank_tiles.default(
            y, x, self._shrink, self._expand, rows.groups, self._starts
        )


class TiledByteStack:
    """Matrices of bytes in AMX tiles; ranks are padded to sixteen."""

    def __init__(self, num_slots: int, config: ModelConfig, site: Site, rank: int, like: Tensor):
        inputs, self._widths = _widths(config, site)
        rank_tiles, fused = rank // _TILE_RANKS, rank * len(self._widths)
        depth, outputs = inputs // (2 * _TILE_INPUTS), sum(self._widths) // _TILE_ROWS
        self._shrink = like.new_zeros(
            num_slots, fused // _TILE_ROWS, depth, _TILE_ROWS, 16, 4, dtype=torch.int8
        )
        self._expand = like.new_zeros(
            num_slots, outputs, rank_tiles, _TILE_RANKS // 4, _TILE_ROWS, 4, dtype=torch.int8
        )
        self._scale = like.new_zeros(num_slots, fused, dtype=torch.float32)
        self._starts = _starts(self._widths)

    padded_rank = staticmethod(TiledStack.padded_rank)

    @staticmethod
    def bytes_per_slot(config: ModelConfig, site: Site, rank: int, dtype: torch.dtype) -> int:
        """Return what one slot takes."""
        inputs, widths = _widths(config, site)
        padded = TiledStack.padded_rank(rank)
        return padded * ((inputs + torch.float32.itemsize) * len(widths) + sum(widths))

    @property
    def num_bytes(self) -> int:
        """What all slots take."""
        return self._shrink.nbytes + self._expand.nbytes + self._scale.nbytes

    def put(self, slot: int, shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> None:
        """See `LowRankStack.put`."""
        matrices = to_byte_matrices(shrink, expand)
        self._shrink[slot] = to_byte_tiles(matrices.shrink.T.contiguous())
        _put_tiles(self._expand[slot], matrices.expand, self._starts)
        self._scale[slot] = matrices.scale

    def apply(self, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"], rows: StepRows) -> None:
        """See `LowRankStack.apply`."""
        torch.ops.descant.low_rank_bytes.default(
            y, x, self._shrink, self._expand, self._scale, rows.groups, self._starts
        )


class ByteMatrices(NamedTuple):
    """An adapter's fused matrices in int8: shrink[i, k] * scale[k] * expand[k, o]."""

    shrink: Int8[Tensor, "I K"]
    expand: Int8[Tensor, "K O"]
    scale: Float[Tensor, " K"]
    """float32"""


def to_byte_matrices(shrink: Float[Tensor, "I K"], expand: Float[Tensor, "K O"]) -> ByteMatrices:
    """Return both matrices as whole numbers of each rank's largest magnitudes' 127th parts."""
    a, b = quantize_channels(shrink.T), quantize_channels(expand)
    return ByteMatrices(a.values.T, b.values, a.scale * b.scale)


StackKind = type[PlainStack] | type[TiledStack] | type[PlainByteStack] | type[TiledByteStack]


def choose_stack(
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    adapter_dtype: AdapterDtype = "model",
) -> StackKind:
    """Return the quickest kind of stack for this model on this machine."""
    inputs_each = _TILE_INPUTS if adapter_dtype == "model" else 2 * _TILE_INPUTS
    sizes = [_widths(config, site) for site in SITE_MODULES]
    fits = all(inputs % inputs_each == 0 for inputs, _ in sizes) and all(
        width % _TILE_ROWS == 0 for _, widths in sizes for width in widths
    )
    is_tiled = fits and has_amx(device, dtype)
    if adapter_dtype == "int8":
        return TiledByteStack if is_tiled else PlainByteStack
    return TiledStack if is_tiled else PlainStack


def _put_tiles(
    to: Shaped[Tensor, "O16 R16 N 16 V"], expand: Shaped[Tensor, "K O"], starts: Int[Tensor, " M"]
) -> None:
    """Cut each module's block of ranks by outputs into tiles; V ranks of an output are neighbours."""
    edges = starts.tolist()
    rank, together = len(expand) // (len(edges) - 1), to.shape[-1]
    for index, (first, stop) in enumerate(itertools.pairwise(edges)):
        block = expand[index * rank : (index + 1) * rank, first:stop]
        shape = (rank // _TILE_RANKS, -1, together, (stop - first) // _TILE_ROWS, _TILE_ROWS)
        to[first // _TILE_ROWS : stop // _TILE_ROWS] = block.reshape(shape).permute(3, 0, 1, 4, 2)


def _starts(widths: Sequence[int]) -> Int[Tensor, " M"]:
    """Return where each module's outputs begin, and where the last ones end."""
    return torch.tensor([0, *itertools.accumulate(widths)])


def _widths(config: ModelConfig, site: Site) -> tuple[int, list[int]]:
    """Return a site's inputs, and the outputs of each of its modules."""
    modules = SITE_MODULES[site]
    return config.in_features(modules[0]), [config.out_features(module) for module in modules]
