"""Frozen linear layers of one or more modules side by side, plain and repacked for few tokens.

Modules with the same input stand in one weight. A plain weight is brought into oneDNN's blocked
layout inside every call; up to a few hundred tokens that takes longer than the product, so there
`PackedLinear` multiplies by a weight that was repacked once: into tiles where the processor has AMX,
else into oneDNN's blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from descant.model.native import is_native

# Measured: 1.8 times as fast at 60 tokens, 1.3 at 250, no faster at 1,000.
_MAX_PACKED_TOKENS = 192

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


class PackedWeight(Protocol):
    """A weight in another layout, for products with few tokens."""

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T."""
        ...


class TiledWeight:
    """AMX tiles, read once and in order: a quarter more of memory's speed than oneDNN gets.

    A token's output is the same bits whatever else is in the step.
    """

    def __init__(self, weight: Float[Tensor, "O I"]):
        outputs, inputs = weight.shape
        tiles = weight.view(outputs // 16, 16, inputs // 32, 16, 2)
        self._tiles = tiles.permute(0, 2, 3, 1, 4).contiguous()

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `PackedWeight`."""
        y: Tensor = torch.ops.descant.tile_linear.default(x, self._tiles)
        return y


class BlockedWeight:
    """oneDNN's blocked layout, and C++ over the plain weight for a single token."""

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
        weight = linear.weight.detach()
        self.packed: PackedWeight = (TiledWeight if has_tiles(weight) else BlockedWeight)(weight)
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
        return torch.split(self.forward(x), self.widths, -1)

    def _takes_packed(self, x: Tensor) -> bool:
        # The packed product has no backward and would give no gradient without an error.
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        return len(x) <= _MAX_PACKED_TOKENS and not needs_gradient


def has_tiles(weight: Tensor) -> bool:
    """Return whether this machine has the tiled product for a weight of this kind and shape."""
    outputs, inputs = weight.shape
    if (
        outputs % _TILE_OUTPUTS
        or inputs % _TILE_INPUTS
        or not is_native(weight.device, weight.dtype)
    ):
        return False
    # A process must ask for the tiles before it uses them.
    return torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()


def can_pack(weight: Tensor) -> bool:
    """Return whether this machine has the blocked product for weights of this kind."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    # Absent from builds without oneDNN.
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return is_supported is not None and bool(is_supported())
