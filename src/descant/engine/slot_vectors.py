"""One vector a key head for every slot of the KV cache, in one of two number formats.

A slot is one token's place. Whatever the format, `write` returns the vectors as they will be read:
a step that uses those sees its own tokens as later steps will, so what comes out does not depend on
how a prompt was cut into steps.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.model import is_native
from descant.schema import KvDtype

_LARGEST = 127


class SlotVectors(Protocol):
    """Vectors by slot."""

    def write(
        self, slots: Int[Tensor, " T"] | slice, vectors: Float[Tensor, "T G D"]
    ) -> Float[Tensor, "T G D"]:
        """Store the vectors of tokens at their slots; return them as they will be read."""
        ...

    def read(self, slots: Int[Tensor, "N C"] | slice) -> Float[Tensor, "N G C D"]:
        """Return the vectors at `slots`."""
        ...

    def pool(self, slots: Int[Tensor, "N C"]) -> tuple[Float[Tensor, "G S D"], Int[Tensor, "N C"]]:
        """Return vectors with those at `slots` among them, and where they are in there."""
        ...


class ModelVectors:
    """Vectors as the model computes them; neighbouring slots (a slice) are not copied."""

    def __init__(
        self,
        num_heads: int,
        num_slots: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._vectors = torch.zeros(num_heads, num_slots, head_dim, dtype=dtype, device=device)
        self._is_native = is_native(device, dtype)

    def write(
        self, slots: Int[Tensor, " T"] | slice, vectors: Float[Tensor, "T G D"]
    ) -> Float[Tensor, "T G D"]:
        """See `SlotVectors.write`."""
        if self._is_native and isinstance(slots, Tensor):
            torch.ops.descant.write_slots.default(self._vectors, vectors, slots)
        else:
            self._vectors[:, slots] = vectors.transpose(0, 1)
        return vectors

    def read(self, slots: Int[Tensor, "N C"] | slice) -> Float[Tensor, "N G C D"]:
        """See `SlotVectors.read`."""
        return _gather(self._vectors, slots)

    def pool(self, slots: Int[Tensor, "N C"]) -> tuple[Float[Tensor, "G S D"], Int[Tensor, "N C"]]:
        """See `SlotVectors.pool`; nothing is copied."""
        return self._vectors, slots


class Int8Vectors:
    """Vectors in int8, each with one symmetric scale in the model's dtype.

    The scale is rounded before the vector is divided by it, so its rounding costs nothing. KIVI
    (arXiv 2402.02750) gives keys a scale a channel instead: better at 2 bits, and at 8 not needed.
    """

    def __init__(
        self,
        num_heads: int,
        num_slots: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        shape = (num_heads, num_slots, head_dim)
        self._values = torch.zeros(shape, dtype=torch.int8, device=device)
        self._scales = torch.zeros(num_heads, num_slots, 1, dtype=dtype, device=device)

    def write(
        self, slots: Int[Tensor, " T"] | slice, vectors: Float[Tensor, "T G D"]
    ) -> Float[Tensor, "T G D"]:
        """See `SlotVectors.write`."""
        scale = vectors.abs().amax(-1, keepdim=True) / _LARGEST
        scale.clamp_min_(torch.finfo(scale.dtype).tiny)
        values = (vectors.float() / scale).round_().to(torch.int8)
        self._values[:, slots] = values.transpose(0, 1)
        self._scales[:, slots] = scale.transpose(0, 1)
        return values * scale

    def read(self, slots: Int[Tensor, "N C"] | slice) -> Float[Tensor, "N G C D"]:
        """See `SlotVectors.read`."""
        return _gather(self._values, slots) * _gather(self._scales, slots)

    def pool(self, slots: Int[Tensor, "N C"]) -> tuple[Float[Tensor, "G S D"], Int[Tensor, "N C"]]:
        """See `SlotVectors.pool`."""
        flat = slots.flatten()
        vectors = self._values.index_select(1, flat) * self._scales.index_select(1, flat)
        return vectors, torch.arange(len(flat), device=flat.device).view(slots.shape)


VECTORS: dict[KvDtype, type[ModelVectors] | type[Int8Vectors]] = {
    "model": ModelVectors,
    "int8": Int8Vectors,
}


def bytes_per_vector(head_dim: int, dtype: torch.dtype, kv_dtype: KvDtype) -> int:
    """Return what one vector takes."""
    return head_dim + dtype.itemsize if kv_dtype == "int8" else head_dim * dtype.itemsize


def _gather(pool: Tensor, slots: Int[Tensor, "N C"] | slice) -> Tensor:
    if isinstance(slots, slice):
        return pool[None, :, slots]
    gathered = pool.index_select(1, slots.flatten())
    return gathered.view(pool.shape[0], *slots.shape, pool.shape[2]).transpose(0, 1)
