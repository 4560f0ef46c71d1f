"""Frozen linear layers of one or more modules side by side, plain and repacked.

Modules with the same input stand in one weight. A plain weight is brought into oneDNN's blocked
layout inside every call; up to a few hundred tokens that takes longer than the product. `PackedLinear`
multiplies by a weight that was repacked once: into tiles where the processor has AMX, else, for few
tokens, into oneDNN's blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from descant.model.native import has_amx, is_native
from descant.model.ops import Ops

# Outputs and inputs that one step of the tiled product takes.
_TILE_OUTPUTS, _TILE_INPUTS = 32, 32


class Linear(nn.Module):
    """A frozen linear layer: gradients go through it, never into it."""

    def __init__(
        self,
        weight: Float[Tensor, "O I"],
        bias: Float[Tensor, " O"] | None = None,
        widths: Sequence[int] | None = None,
    ):
        """`widths` are the outputs of each module, where there are several."""
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.widths = [len(weight)] if widths is None else list(widths)

    def forward(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T + bias."""
        return F.linear(x, self.weight, self.bias)

    def parts(self, x: Float[Tensor, "T I"]) -> Sequence[Float[Tensor, "T _"]]:
        """Return the output of each module, from a product of its own.

        As fast as one product, and of the shapes that transformers multiplies: in bfloat16 the
        last bit depends on them, and with it the top token at some positions in a hundred.
        """
        if len(self.widths) == 1:
            return [F.linear(x, self.weight, self.bias)]
        weights = torch.split(self.weight, self.widths)
        if self.bias is None:
            return [F.linear(x, weight) for weight in weights]
        biases = torch.split(self.bias, self.widths)
        return [F.linear(x, *pair) for pair in zip(weights, biases, strict=True)]

    def gated(self, x: Float[Tensor, "T I"], ops: Ops) -> Float[Tensor, "T F"]:
        """Return silu(first) * second of two modules."""
        return ops.gate(*self.parts(x))


@runtime_checkable
class PackedWeight(Protocol):
    """A weight in another layout."""

    @property
    def max_tokens(self) -> int | None:
        """Up to how many tokens it is quicker than the plain weight; None: always."""
        ...

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T."""
        ...


class TiledWeight:
    """AMX tiles, read once and in order: a quarter more of memory's speed than oneDNN gets.

    A token's output is the same bits whatever else is in the step.
    """

    max_tokens: int | None = None

    def __init__(self, weight: Float[Tensor, "O I"]):
        self.tiles = to_tiles(weight)

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `PackedWeight`."""
        y: Tensor = torch.ops.descant.tile_linear.default(x, self.tiles)
        return y


class TiledPair:
    """Two equal modules whose tiles take turns, so that one can gate the other while both are at hand."""

    max_tokens: int | None = None

    def __init__(self, weight: Float[Tensor, "O I"]):
        first, second = (to_tiles(half) for half in weight.tensor_split(2))
        self.tiles = torch.stack([first, second], 1).flatten(0, 1)

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `PackedWeight`."""
        y: Tensor = torch.ops.descant.tile_halves.default(x, self.tiles)
        return y

    def gate(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T F"]:
        """Return silu(first) * second."""
        y: Tensor = torch.ops.descant.tile_gate.default(x, self.tiles)
        return y


class BlockedWeight:
    """oneDNN's blocked layout, and C++ over the plain weight for a single token."""

    # Measured: 1.8 times as fast at 60 tokens, 1.3 at 250, no faster at 1,000.
    max_tokens: int | None = 192

    def __init__(self, weight: Float[Tensor, "O I"]):
        self._blocks = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._plain = weight if is_native(weight.device, weight.dtype) else None

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `PackedWeight`."""
        y: Tensor
        if len(x) == 1 and self._plain is not None:
            # One token reads every weight once: there is nothing for blocks to save.
            y = torch.ops.descant.linear_row.default(x, self._plain)
        else:
            product = torch.ops.mkldnn._linear_pointwise.default
            y = product(x, self._blocks, None, "none", [], "")
        return y


class PackedLinear(nn.Module):
    """A frozen linear layer that uses a packed weight where that is faster."""

    def __init__(self, linear: Linear):
        super().__init__()
        self.packed = pack(linear.weight.detach(), linear.widths)
        self.bias = linear.bias
        self.widths = linear.widths
        self.plain = linear

    def forward(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T + bias."""
        if not self._takes_packed(x):
            return self.plain.forward(x)
        y = self.packed(x)
        return y if self.bias is None else y + self.bias

    def parts(self, x: Float[Tensor, "T I"]) -> Sequence[Float[Tensor, "T _"]]:
        """Return the output of each module."""
        if not self._takes_packed(x):
            return self.plain.parts(x)
        return split(self.forward(x), self.widths)

    def gated(self, x: Float[Tensor, "T I"], ops: Ops) -> Float[Tensor, "T F"]:
        """Return silu(first) * second of two modules."""
        if isinstance(self.packed, TiledPair) and self.bias is None and self._takes_packed(x):
            return self.packed.gate(x)
        return ops.gate(*self.parts(x))

    def _takes_packed(self, x: Tensor) -> bool:
        if x.requires_grad and torch.is_grad_enabled():
            # The packed product has no backward and would give no gradient without an error.
            return False
        return self.packed.max_tokens is None or len(x) <= self.packed.max_tokens


def pack(weight: Float[Tensor, "O I"], widths: Sequence[int]) -> PackedWeight:
    """Return the layout that is quickest here for modules of these widths."""
    if not has_tiles(weight):
        return BlockedWeight(weight)
    is_pair = len(widths) == 2 and widths[0] == widths[1]
    return TiledPair(weight) if is_pair and widths[0] % 16 == 0 else TiledWeight(weight)


def split(y: Float[Tensor, "T O"], widths: Sequence[int]) -> Sequence[Float[Tensor, "T _"]]:
    """Return each module's outputs."""
    # To split one into one takes as long as a small product.
    return [y] if len(widths) == 1 else y.split_with_sizes(widths, -1)


def has_tiles(weight: Tensor) -> bool:
    """Return whether this machine has the tiled product for a weight of this kind and shape."""
    outputs, inputs = weight.shape
    fits = outputs % _TILE_OUTPUTS == 0 and inputs % _TILE_INPUTS == 0
    return fits and has_amx(weight.device, weight.dtype)


def to_tiles(weight: Float[Tensor, "O I"]) -> Float[Tensor, "M N 16 16 2"]:
    """Return a weight in tiles of 16 outputs by 32 inputs; pairs of inputs stand together."""
    outputs, inputs = weight.shape
    tiles = weight.reshape(outputs // 16, 16, inputs // 32, 16, 2)
    return tiles.permute(0, 2, 3, 1, 4).contiguous()


def can_pack(weight: Tensor) -> bool:
    """Return whether this machine has the blocked product for weights of this kind."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    # Absent from builds without oneDNN.
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return is_supported is not None and bool(is_supported())
