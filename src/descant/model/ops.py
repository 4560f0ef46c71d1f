"""The small operations between the products of a layer, plain and in C++.

`TorchOps` says what they compute and runs anywhere; `NativeOps` rounds to bfloat16 in the same
places. A step of a few tokens spends more time in dispatching these than in computing.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from descant.model.native import is_native

Hidden = Float[Tensor, "T E"]


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

    def add_rms_norm(
        self, x: Hidden, update: Hidden, weight: Float[Tensor, " E"], eps: float
    ) -> tuple[Hidden, Hidden]:
        """Return x + update, and its `rms_norm`."""
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

    def add_rms_norm(
        self, x: Hidden, update: Hidden, weight: Float[Tensor, " E"], eps: float
    ) -> tuple[Hidden, Hidden]:
        """See `Ops.add_rms_norm`."""
        total = x + update
        return total, self.rms_norm(total, weight, eps)

    def rotate(self, heads: Float[Tensor, "T N D"], rotation: Rotation) -> Float[Tensor, "T N D"]:
        """See `Ops.rotate`."""
        # Not addcmul: both products are rounded before the sum, as transformers does. In bfloat16
        # one rounding less changes the top token at 3 to 5 % of positions.
        swapped = heads.roll(heads.shape[-1] // 2, -1)
        return heads * rotation.cos + swapped * rotation.sin

    def gate(self, gate: Float[Tensor, "T F"], up: Float[Tensor, "T F"]) -> Float[Tensor, "T F"]:
        """See `Ops.gate`."""
        return F.silu(gate) * up


class NativeOps:
    """C++ for bfloat16 on the CPU, with gradients."""

    def rms_norm(
        self, x: Float[Tensor, "*T E"], weight: Float[Tensor, " E"], eps: float
    ) -> Float[Tensor, "*T E"]:
        """See `Ops.rms_norm`."""
        rows = x.reshape(-1, x.shape[-1])
        if not rows.requires_grad:
            plain: Tensor = _native().rms_norm.default(rows, weight, eps)
            return plain.view(x.shape)
        out: Tensor = _RmsNorm.apply(rows, weight, eps)  # type: ignore[no-untyped-call]
        return out.view(x.shape)

    def add_rms_norm(
        self, x: Hidden, update: Hidden, weight: Float[Tensor, " E"], eps: float
    ) -> tuple[Hidden, Hidden]:
        """See `Ops.add_rms_norm`."""
        if not (x.requires_grad or update.requires_grad):
            total, normed = _native().add_rms_norm.default(x, update, weight, eps)
            return total, normed
        total = x + update
        return total, self.rms_norm(total, weight, eps)

    def rotate(self, heads: Float[Tensor, "T N D"], rotation: Rotation) -> Float[Tensor, "T N D"]:
        """See `Ops.rotate`."""
        if not heads.requires_grad:
            out: Tensor = _native().rotate.default(heads, *rotation)
            return out
        turned: Tensor = _Rotate.apply(heads, *rotation)  # type: ignore[no-untyped-call]
        return turned

    def gate(self, gate: Float[Tensor, "T F"], up: Float[Tensor, "T F"]) -> Float[Tensor, "T F"]:
        """See `Ops.gate`."""
        if not (gate.requires_grad or up.requires_grad):
            out: Tensor = _native().silu_mul.default(gate, up)
            return out
        gated: Tensor = _Gate.apply(gate, up)  # type: ignore[no-untyped-call]
        return gated


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        out: Tensor = _native().rms_norm.default(x, weight, eps)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        x, weight = ctx.saved_tensors
        back = _native().rms_norm_backward.default(grad.contiguous(), x, weight, ctx.eps)
        return back, None, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        out: Tensor = _native().rotate.default(heads, cos, sin)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        # The gradient is turned back: what came from a partner goes to it.
        back = sin.roll(sin.shape[-1] // 2, -1)
        (grad,) = gradients
        return _native().rotate.default(grad.contiguous(), cos, back), None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out: Tensor = _native().silu_mul.default(gate, up)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (grad,) = gradients
        both = _native().silu_mul_backward.default(grad.contiguous(), *ctx.saved_tensors)
        of_gate, of_up = both.split(both.shape[-1] // 2, -1)
        return of_gate, of_up


def _native() -> Any:
    return torch.ops.descant


def choose_ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """Return the quickest operations that this machine has."""
    return NativeOps() if is_native(device, dtype) else TorchOps()
