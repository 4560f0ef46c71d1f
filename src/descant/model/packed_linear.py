"""A linear layer with its weight in oneDNN's blocked layout: faster for few tokens on a CPU.

A plain weight is blocked again inside every call; up to a few hundred tokens that takes longer than
the product. Beyond that the plain weight is as fast or faster, so it may be kept beside the packed
one, at the price of its memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Measured: 1.8 times as fast at 60 tokens, 1.3 at 250, no faster at 1,000. Up to here the results
# are also equal bit for bit; beyond, oneDNN may cut the sum in other places.
_MAX_PACKED_TOKENS = 256


class PackedLinear(nn.Module):
    """A frozen linear layer that uses its packed weight where that is faster.

    Without the plain weight every step uses the packed one, and there are no gradients.
    """

    def __init__(
        self,
        weight: Float[Tensor, "O I"],
        bias: Float[Tensor, " O"] | None = None,
        keep_plain: bool = True,
    ):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.weight = weight if keep_plain else None
        self.bias = bias

    def forward(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T + bias."""
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        if self.weight is not None and (needs_gradient or len(x) > _MAX_PACKED_TOKENS):
            return F.linear(x, self.weight, self.bias)
        # The operation has no backward and would give no gradient without an error.
        assert not needs_gradient, "a model without its plain weights cannot train"
        y: Tensor = torch.ops.mkldnn._linear_pointwise.default(
            x, self.packed, self.bias, "none", [], ""
        )
        return y


def can_pack(weight: Tensor) -> bool:
    """Return whether this machine has the blocked product for weights of this kind."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    # Absent from builds without oneDNN.
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return is_supported is not None and bool(is_supported())
