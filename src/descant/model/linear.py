"""Frozen linear layers of one or more modules side by side, plain and repacked for few tokens.

Modules with the same input stand in one weight. A plain weight is brought into oneDNN's blocked
layout inside every call; up to a few hundred tokens that takes longer than the product, so there
`PackedLinear` multiplies by a weight that was blocked once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from descant.model.native import load_native

# Measured: 1.8 times as fast at 60 tokens, 1.3 at 250, no faster at 1,000. Up to here the results
# are also equal bit for bit; beyond, oneDNN cuts the sums in places that depend on the shapes.
_MAX_PACKED_TOKENS = 192


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


class PackedLinear(nn.Module):
    """A frozen linear layer that uses a packed weight where that is faster.

    Without the plain weight every step uses the packed one, and there are no gradients.
    """

    def __init__(self, linear: Linear, keep_plain: bool = True):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = linear.bias
        self.widths = linear.widths
        self.plain = linear if keep_plain else None

    def forward(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T + bias."""
        plain = self._plain_for(x)
        return self._packed_product(x) if plain is None else plain.forward(x)

    def parts(self, x: Float[Tensor, "T I"]) -> Sequence[Float[Tensor, "T _"]]:
        """Return the output of each module."""
        plain = self._plain_for(x)
        if plain is not None:
            return plain.parts(x)
        return torch.split(self._packed_product(x), self.widths, -1)

    def _plain_for(self, x: Tensor) -> Linear | None:
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        if self.plain is not None and (needs_gradient or len(x) > _MAX_PACKED_TOKENS):
            return self.plain
        # The packed product has no backward and would give no gradient without an error.
        assert not needs_gradient, "a model without its plain weights cannot train"
        return None

    def _packed_product(self, x: Tensor) -> Tensor:
        if len(x) == 1 and self.plain is not None and self.bias is None and load_native():
            # One token reads every weight once: there is nothing for blocks to save.
            row: Tensor = torch.ops.descant.linear_row.default(x, self.plain.weight)
            return row
        product = torch.ops.mkldnn._linear_pointwise.default
        y: Tensor = product(x, self.packed, self.bias, "none", [], "")
        return y


def can_pack(weight: Tensor) -> bool:
    """Return whether this machine has the blocked product for weights of this kind."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    # Absent from builds without oneDNN.
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return is_supported is not None and bool(is_supported())
