"""Attention of many tails over a frozen reading, with gradient for the tails only.

The reading's keys and values are constants; each tail also sees its own tokens. Both parts are
computed apart and merged by log-sum-exp; backward, each part is given the *merged* output and
log-sum-exp, from which its own share of the gradient follows, so the two never meet in one large
score matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from descant.model import AttentionKernel, Partial, merge


class PaddedReading(NamedTuple):
    """One layer's keys and values of several readings, padded to one length."""

    keys: Float[Tensor, "C G T D"]
    values: Float[Tensor, "C G T D"]
    mask: Float[Tensor, "C T"] | None
    """0 for a token, very negative for padding; None when nothing is padded."""


class TailAttention(torch.autograd.Function):
    """Attend to a reading and to the tail's own tokens.

    Semantics (conversation c, adapter a, tail token i):
        out[a, c, i] = softmax over reading c and tokens j <= i of tail (a, c)
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Float[Tensor, "A C S H D"],
        k: Float[Tensor, "A C S G D"],
        v: Float[Tensor, "A C S G D"],
        reading: PaddedReading,
        kernel: AttentionKernel,
    ) -> Float[Tensor, "A C S H D"]:
        """Compute both parts and merge them."""
        group = q.shape[3] // k.shape[3]
        folded = _fold_by_conversation(q, group)
        past = kernel.dense(folded, reading.keys, reading.values, reading.mask)
        rows, own_keys, own_values = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))
        own = kernel.causal(rows, own_keys, own_values)
        past_out = _unfold_by_conversation(past.out, q.shape, group)
        past_lse = _unfold_by_conversation(past.lse.unsqueeze(-1), q.shape, group)[..., 0]
        own_out = own.out.transpose(1, 2).view(q.shape)
        own_lse = own.lse.transpose(1, 2).view(q.shape[:-1])
        out, lse = merge((past_out, past_lse), (own_out, own_lse))
        ctx.save_for_backward(q, k, v, out, lse, reading.keys, reading.values, reading.mask)
        ctx.kernel = kernel
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of queries and of the tails' own keys and values."""
        q, k, v, out, lse, keys, values, mask = ctx.saved_tensors
        (grad,) = gradients
        group = q.shape[3] // k.shape[3]
        folded_q, folded_grad, folded_out = (
            _fold_by_conversation(x, group) for x in (q, grad, out)
        )
        folded_lse = _fold_by_conversation(lse.unsqueeze(-1), group)[..., 0]
        grad_past = ctx.kernel.dense_query_gradient(
            folded_grad, folded_q, keys, values, Partial(folded_out, folded_lse), mask
        )
        delta = (grad.float() * out.float()).sum(-1)
        grad_own, grad_k, grad_v = _own_gradients(q, k, v, grad, lse, delta, group)
        grad_q = _unfold_by_conversation(grad_past, q.shape, group) + grad_own
        return grad_q, grad_k, grad_v, None, None


def _own_gradients(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, lse: Tensor, delta: Tensor, group: int
) -> tuple[Tensor, Tensor, Tensor]:
    scale = q.shape[-1] ** -0.5
    num_adapters, num_conversations, num_tokens, num_kv_heads, head_dim = k.shape
    split = (num_adapters, num_conversations, num_tokens, num_kv_heads, group, -1)
    num_tails = num_adapters * num_conversations * num_kv_heads
    # Tails are a handful of tokens: float32 and whole score matrices cost nothing here.
    rows, grads, lse, delta = (
        x.reshape(split)
        .permute(0, 1, 3, 4, 2, 5)
        .reshape(num_tails, group * num_tokens, -1)
        .float()
        for x in (q, grad, lse, delta)
    )
    keys, values = (
        x.permute(0, 1, 3, 2, 4).reshape(num_tails, num_tokens, head_dim).float() for x in (k, v)
    )
    future = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=q.device).triu(1)
    scores = rows @ keys.transpose(-1, -2) * scale - lse
    weights = scores.exp().masked_fill(future.repeat(group, 1), 0.0)
    pulled = weights * (grads @ values.transpose(-1, -2) - delta) * scale
    grad_q = (pulled @ keys).view(
        num_adapters, num_conversations, num_kv_heads, group, num_tokens, head_dim
    )
    grad_k, grad_v = (
        x.view(num_adapters, num_conversations, num_kv_heads, num_tokens, head_dim)
        for x in (pulled.transpose(-1, -2) @ rows, weights.transpose(-1, -2) @ grads)
    )
    return (
        grad_q.permute(0, 1, 4, 2, 3, 5).reshape(q.shape).to(q.dtype),
        grad_k.permute(0, 1, 3, 2, 4).to(k.dtype),
        grad_v.permute(0, 1, 3, 2, 4).to(v.dtype),
    )


def _fold_by_conversation(x: Tensor, group: int) -> Tensor:
    """Return [A, C, S, H, X] as [C, G, A*S*group, X]: all queries of a conversation together."""
    num_adapters, num_conversations, num_tokens, num_heads, width = x.shape
    split = x.view(num_adapters, num_conversations, num_tokens, num_heads // group, group, width)
    return split.permute(1, 3, 0, 2, 4, 5).reshape(num_conversations, num_heads // group, -1, width)


def _unfold_by_conversation(x: Tensor, shape: torch.Size, group: int) -> Tensor:
    """Undo `_fold_by_conversation`; `shape` is that of the queries."""
    num_adapters, num_conversations, num_tokens, num_heads, _ = shape
    split = x.view(num_conversations, num_heads // group, num_adapters, num_tokens, group, -1)
    return split.permute(2, 0, 3, 1, 4, 5).reshape(
        num_adapters, num_conversations, num_tokens, num_heads, -1
    )
