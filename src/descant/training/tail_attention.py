"""Attention of many tails over readings.

A frozen reading's keys and values are constants; under a reader that is being trained they take
gradients, which are put down beside them. Each tail also sees its own tokens. Both parts are
computed apart and merged by log-sum-exp; backward, each part is given the *merged* output and
log-sum-exp, from which its own share of the gradient follows, so the two never meet in one large
score matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.model import AttentionKernel, Partial, merge
from descant.training.readings import LayerReading


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
        readings: Sequence[LayerReading],
        kernel: AttentionKernel,
    ) -> Float[Tensor, "A C S H D"]:
        """Compute both parts and merge them; there is a reading for each conversation."""
        group = q.shape[3] // k.shape[3]
        past_out, past_lse = _attend_to_readings(q, readings, kernel, group)
        rows, own_keys, own_values = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))
        own = kernel.causal(rows, own_keys, own_values)
        own_out = own.out.transpose(1, 2).view(q.shape)
        own_lse = own.lse.transpose(1, 2).view(q.shape[:-1])
        out, lse = merge((past_out, past_lse), (own_out, own_lse))
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.readings, ctx.kernel = readings, kernel
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of queries and of the tails' own keys and values."""
        q, k, v, out, lse = ctx.saved_tensors
        (grad,) = gradients
        group = q.shape[3] // k.shape[3]
        folded_q, folded_grad, folded_out = (
            _fold_by_conversation(x, group) for x in (q, grad, out)
        )
        folded_lse = _fold_by_conversation(lse.unsqueeze(-1), group)[..., 0]
        grad_past = torch.empty_like(folded_q)
        for index, reading in enumerate(ctx.readings):
            own = slice(index, index + 1)
            whole = Partial(folded_out[own], folded_lse[own])
            keys, values = reading.keys[None], reading.values[None]
            grad_past[own] = ctx.kernel.dense_query_gradient(
                folded_grad[own], folded_q[own], keys, values, whole
            )
            if reading.gradient is not None:
                reading.gradient.append(
                    _reading_gradients(folded_grad[index], folded_q[index], reading, whole)
                )
        delta = (grad.float() * out.float()).sum(-1)
        grad_own, grad_k, grad_v = _own_gradients(q, k, v, grad, lse, delta, group)
        grad_q = _unfold_by_conversation(grad_past, q.shape, group) + grad_own
        return grad_q, grad_k, grad_v, None, None


def _attend_to_readings(
    q: Float[Tensor, "A C S H D"],
    readings: Sequence[LayerReading],
    kernel: AttentionKernel,
    group: int,
) -> tuple[Float[Tensor, "A C S H D"], Float[Tensor, "A C S H"]]:
    # One conversation after the other: each has a length of its own, and nothing is copied.
    folded = _fold_by_conversation(q, group)
    parts = [
        kernel.dense(folded[index : index + 1], reading.keys[None], reading.values[None])
        for index, reading in enumerate(readings)
    ]
    out = torch.cat([part.out for part in parts])
    lse = torch.cat([part.lse for part in parts]).unsqueeze(-1)
    return (
        _unfold_by_conversation(out, q.shape, group),
        _unfold_by_conversation(lse, q.shape, group)[..., 0],
    )


def _reading_gradients(
    grad: Float[Tensor, "G Q D"], q: Float[Tensor, "G Q D"], reading: LayerReading, whole: Partial
) -> tuple[Float[Tensor, "G T D"], Float[Tensor, "G T D"]]:
    """Return the gradients of a reading's keys and values, from the merged output and log-sum-exp.

    Semantics (p the weights, o the merged output, all in float32):
        p = exp(q k^T / sqrt(D) - lse);  dv = p^T g;  dk = (p * (g v^T - sum(g * o)))^T q / sqrt(D)
    """
    scale = q.shape[-1] ** -0.5
    q, grad, keys, values = (x.float() for x in (q, grad, reading.keys, reading.values))
    delta = (grad * whole.out[0].float()).sum(-1, keepdim=True)
    weights = (q @ keys.transpose(-1, -2) * scale - whole.lse[0].float()[..., None]).exp()
    pulled = weights * (grad @ values.transpose(-1, -2) - delta) * scale
    dtype = reading.keys.dtype
    return (pulled.transpose(-1, -2) @ q).to(dtype), (weights.transpose(-1, -2) @ grad).to(dtype)


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
