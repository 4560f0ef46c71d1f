"""The low-rank updates of one site, for several adapters at once, forward and backward.

Written out because autograd would build each module's update, join them and add them to the base
output, four times over the widest tensors of the step. Here every product goes straight into its
columns of the base output.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class LowRankUpdate(torch.autograd.Function):
    """Add each adapter's update to the base output of its tokens, in place.

    Tokens stand adapter by adapter, equally many each: t belongs to a = t // (T / N).

    Semantics (module m has the columns from starts[m] on):
        out[t, columns of m] = y[t, columns of m] + scaling * (x[t] @ shrink[a, m]) @ expand[a, m]
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "T I"],
        y: Float[Tensor, "T O"],
        scaling: float,
        starts: tuple[int, ...],
        shrink: Float[Tensor, "N I MR"],
        *expands: Float[Tensor, "N R _"],
    ) -> Float[Tensor, "T O"]:
        """Return y, updated."""
        rows = x.view(len(shrink), -1, x.shape[-1])
        low_rank = torch.bmm(rows, shrink).mul_(scaling)
        ctx.save_for_backward(rows, low_rank, shrink, *expands)
        ctx.scaling, ctx.starts = scaling, starts
        ctx.mark_dirty(y)
        out = y.view(len(shrink), -1, y.shape[-1])
        pieces = low_rank.split(expands[0].shape[1], -1)
        for start, piece, expand in zip(starts, pieces, expands, strict=True):
            out[..., start : start + expand.shape[-1]].baddbmm_(piece, expand)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        """Return the gradients of x, y, shrink and every expand."""
        (grad,) = gradients
        rows, low_rank, shrink, *expands = ctx.saved_tensors
        by_adapter = grad.view(len(shrink), -1, grad.shape[-1])
        rank = expands[0].shape[1]
        grad_low_rank = torch.empty_like(low_rank)
        grad_expands = []
        for index, (start, expand) in enumerate(zip(ctx.starts, expands, strict=True)):
            pulled = by_adapter[..., start : start + expand.shape[-1]]
            columns = slice(index * rank, (index + 1) * rank)
            grad_low_rank[..., columns] = torch.bmm(pulled, expand.transpose(1, 2))
            grad_expands.append(torch.bmm(low_rank[..., columns].transpose(1, 2), pulled))
        grad_low_rank.mul_(ctx.scaling)
        grad_x = torch.bmm(grad_low_rank, shrink.transpose(1, 2)).view(-1, rows.shape[-1])
        grad_shrink = torch.bmm(rows.transpose(1, 2), grad_low_rank)
        return grad_x, grad, None, None, grad_shrink, *grad_expands
