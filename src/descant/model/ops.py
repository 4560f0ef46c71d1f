"""The small operations between the products of a layer, plain and in C++.

`TorchOps` says what they compute and runs anywhere; `NativeOps` rounds to bfloat16 in the same
places and has no gradient. A step of a few tokens spends more time in dispatching these than in computing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from descant.model.native import load_native


class Rotation(NamedTuple):
    """The rotary table of one step; the sign of rotate-half is in `sin`."""

    cos: Float[Tensor, "T 1 D"]
    sin: Float[Tensor, "T 1 D"]


@runtime_checkable
class Ops(Protocol):
    """How the small operations are computed."""

    def rms_norm(
        self, x: Float[Tensor, "*T E"], weight: Float[Tensor, " E"], eps: float
    ) -> Float[Tensor, "*T E"]:
        """Return x / sqrt(mean(x**2) + eps) * weight, the mean in float32."""
        ...

    def rotate(self, heads: Float[Tensor, "T N D"], rotation: Rotation) -> Float[Tensor, "T N D"]:
        """Turn each pair (d, d + D/2) of every head by its token's angle.

        Semantics:
            out = heads * cos + roll(heads, D/2) * sin    (rolling by half swaps the two halves)
        """
        ...

    def gate(self, gate: Float[Tensor, "T F"], up: Float[Tensor, "T F"]) -> Float[Tensor, "T F"]:
        """Return silu(gate) * up."""
        ...


class TorchOps:
    """Plain PyTorch."""

    def rms_norm(
        self, x: Float[Tensor, "*T E"], weight: Float[Tensor, " E"], eps: float
    ) -> Float[Tensor, "*T E"]:
        """See `Ops.rms_norm`."""
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
        return (x32 * scale).to(x.dtype) * weight

    def rotate(self, heads: Float[Tensor, "T N D"], rotation: Rotation) -> Float[Tensor, "T N D"]:
        """See `Ops.rotate`."""
        # Not addcmul: both products are rounded before the sum, as transformers does. In bfloat16
        # one rounding less changes the top token at 3 to 5 % of positions.
        swapped = heads.roll(heads.shape[-1] // 2, -1)
        return heads * rotation.cos + swapped * rotation.sin

    def gate(self, gate: Float[Tensor, "T F"], up: Float[Tensor, "T F"]) -> Float[Tensor, "T F"]:
        """See `Ops.gate`."""
        return F.silu(gate) * up


class NativeOps(TorchOps):
    """C++ for bfloat16 on the CPU; where gradients are wanted, the plain ones."""

    def rms_norm(
        self, x: Float[Tensor, "*T E"], weight: Float[Tensor, " E"], eps: float
    ) -> Float[Tensor, "*T E"]:
        """See `Ops.rms_norm`."""
        if x.requires_grad:
            return super().rms_norm(x, weight, eps)
        rows = x.reshape(-1, x.shape[-1])
        out: Tensor = torch.ops.descant.rms_norm.default(rows, weight, eps)
        return out.view(x.shape)

    def rotate(self, heads: Float[Tensor, "T N D"], rotation: Rotation) -> Float[Tensor, "T N D"]:
        """See `Ops.rotate`."""
        if heads.requires_grad:
            return super().rotate(heads, rotation)
        out: Tensor = torch.ops.descant.rotate.default(heads, *rotation)
        return out

    def gate(self, gate: Float[Tensor, "T F"], up: Float[Tensor, "T F"]) -> Float[Tensor, "T F"]:
        """See `Ops.gate`."""
        if gate.requires_grad or up.requires_grad:
            return super().gate(gate, up)
        out: Tensor = torch.ops.descant.silu_mul.default(gate, up)
        return out


def choose_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """Return the quickest operations that this machine has."""
    if device.type == "cpu" and dtype == torch.bfloat16 and load_native():
        return NativeOps()
    return TorchOps()
