"""Attention over a part of the keys, with what is needed to join the parts.

In: queries, and some of the keys they may see. Out: the attention output over just those keys and
the log-sum-exp of their scores. Two parts over disjoint keys merge into attention over both, so one
shared prefix can serve many private tails (Hydragen, arXiv 2402.05099). Knows nothing of blocks,
sequences or adapters.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

_QUERY_BLOCK = 256

# Backward, this many scores at a time: they are gone over several times, and fit a core's cache.
_CACHED_SCORES = 1 << 19


class Partial(NamedTuple):
    """Attention over some of the keys."""

    out: Float[Tensor, "N G M D"]
    lse: Float[Tensor, "N G M"]
    """Natural logarithm of the sum of exponentiated scores, float32."""


@runtime_checkable
class AttentionKernel(Protocol):
    """How a part is computed; every implementation returns the same up to rounding."""

    def dense(
        self,
        q: Float[Tensor, "N G M D"],
        k: Float[Tensor, "N G C D"],
        v: Float[Tensor, "N G C D"],
        mask: Float[Tensor, "N C"] | None = None,
    ) -> Partial:
        """Let every query see every key; `mask` is added to the scores (0 or a large negative).

        Semantics:
            out[m] = sum_c softmax_c(q[m] . k[c] / sqrt(D) + mask[c]) v[c]
        """
        ...

    def dense_query_gradient(
        self,
        grad: Float[Tensor, "N G M D"],
        q: Float[Tensor, "N G M D"],
        k: Float[Tensor, "N G C D"],
        v: Float[Tensor, "N G C D"],
        whole: Partial,
        mask: Float[Tensor, "N C"] | None = None,
    ) -> Float[Tensor, "N G M D"]:
        """Return this part's share of the queries' gradient; the keys are constants.

        `whole` is the attention over all parts, merged: each part's weights follow from its
        log-sum-exp, so the parts need not be brought together again.

        Semantics:
            P[c] = exp(q . k[c] / sqrt(D) + mask[c] - lse)
            dq = sum_c P[c] (grad . v[c] - grad . out) k[c] / sqrt(D)
        """
        ...

    def causal(
        self,
        q: Float[Tensor, "N H S D"],
        k: Float[Tensor, "N G S D"],
        v: Float[Tensor, "N G S D"],
    ) -> Partial:
        """Let query s see keys 0..s; query head h reads key head h // (H / G)."""
        ...


class MatmulKernel:
    """Plain matrix products: runs anywhere, and is the slow twin of every other kernel."""

    def dense(
        self,
        q: Float[Tensor, "N G M D"],
        k: Float[Tensor, "N G C D"],
        v: Float[Tensor, "N G C D"],
        mask: Float[Tensor, "N C"] | None = None,
    ) -> Partial:
        """See `AttentionKernel.dense`."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        scores = scores.float()
        if mask is not None:
            scores = scores + mask[:, None, None, :]
        return _weigh(scores, v)

    def dense_query_gradient(
        self,
        grad: Float[Tensor, "N G M D"],
        q: Float[Tensor, "N G M D"],
        k: Float[Tensor, "N G C D"],
        v: Float[Tensor, "N G C D"],
        whole: Partial,
        mask: Float[Tensor, "N C"] | None = None,
    ) -> Float[Tensor, "N G M D"]:
        """See `AttentionKernel.dense_query_gradient`."""
        # The subtractions ride along in the products as further columns, where sums are float32:
        # scores need no float32 copies, and are rounded once, after lse is taken off.
        scale = q.shape[-1] ** -0.5
        delta = (grad.float() * whole.out.float()).sum(-1)
        masks = q.new_zeros(len(k), k.shape[2]) if mask is None else mask.to(q.dtype)
        rows = torch.cat(
            [q * scale, _as_columns(-whole.lse, q.dtype), torch.ones_like(q[..., :1])], -1
        )
        pulls = torch.cat([grad, _as_columns(-delta, q.dtype)], -1)
        gradient = torch.empty_like(q)
        size = max(1, _CACHED_SCORES // (k.shape[1] * k.shape[2]))
        for group in range(len(q)):
            ones = torch.ones_like(k[group, ..., :2])
            added = masks[group].expand(k.shape[1], -1).unsqueeze(-1)
            keys = torch.cat([k[group], ones, added], -1).transpose(-1, -2)
            values = torch.cat([v[group], ones], -1).transpose(-1, -2)
            for start in range(0, q.shape[2], size):
                part = (group, slice(None), slice(start, start + size))
                weights = (rows[part] @ keys).exp_().mul_(pulls[part] @ values)
                gradient[part] = weights @ k[group] * scale
        return gradient

    def causal(
        self,
        q: Float[Tensor, "N H S D"],
        k: Float[Tensor, "N G S D"],
        v: Float[Tensor, "N G S D"],
    ) -> Partial:
        """See `AttentionKernel.causal`; query blocks skip the keys none of their rows may see."""
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        parts = [self._causal_rows(q, k, v, start) for start in range(0, q.shape[2], _QUERY_BLOCK)]
        return Partial(
            torch.cat([part.out for part in parts], 2), torch.cat([part.lse for part in parts], 2)
        )

    def _causal_rows(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Partial:
        stop = min(start + _QUERY_BLOCK, q.shape[2])
        scores = (q[:, :, start:stop] * q.shape[-1] ** -0.5) @ k[:, :, :stop].transpose(-1, -2)
        future = torch.ones(stop - start, stop, dtype=torch.bool, device=q.device).triu(start + 1)
        return _weigh(scores.float().masked_fill(future, -torch.inf), v[:, :, :stop])


class CpuFlashKernel(MatmulKernel):
    """PyTorch's fused CPU kernel: quickest where bfloat16 matrix products are native (AMX)."""

    def dense(
        self,
        q: Float[Tensor, "N G M D"],
        k: Float[Tensor, "N G C D"],
        v: Float[Tensor, "N G C D"],
        mask: Float[Tensor, "N C"] | None = None,
    ) -> Partial:
        """See `AttentionKernel.dense`."""
        added = None if mask is None else mask[:, None, None, :].to(q.dtype)
        return Partial(
            *torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, False, attn_mask=added
            )
        )

    def causal(
        self,
        q: Float[Tensor, "N H S D"],
        k: Float[Tensor, "N G S D"],
        v: Float[Tensor, "N G S D"],
    ) -> Partial:
        """See `AttentionKernel.causal`."""
        group = q.shape[1] // k.shape[1]
        return Partial(
            *torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), 0.0, True
            )
        )


def choose_kernel(device: torch.device, dtype: torch.dtype) -> AttentionKernel:
    """Return the quickest kernel for this processor.

    The fused CPU kernel calls a library whose bfloat16 products are slow without AMX; there, plain
    batched products go to oneDNN and win. The choice depends on the processor alone, never on a
    timing, so that the same machine always computes the same bits.
    """
    if device.type != "cpu":
        return MatmulKernel()
    if dtype == torch.float32 or torch.cpu._is_amx_tile_supported():
        return CpuFlashKernel()
    return MatmulKernel()


def _as_columns(x: Float[Tensor, "N G M"], dtype: torch.dtype) -> Float[Tensor, "N G M 2"]:
    """Return x as two columns of a coarser type whose sum is x to twice its precision."""
    coarse = x.to(dtype)
    return torch.stack([coarse, (x - coarse.float()).to(dtype)], -1)


def merge(
    first: tuple[Float[Tensor, "*T D"], Float[Tensor, "*T"]],
    second: tuple[Float[Tensor, "*T D"], Float[Tensor, "*T"]],
) -> tuple[Float[Tensor, "*T D"], Float[Tensor, "*T"]]:
    """Join attention over two disjoint sets of keys into attention over both.

    Semantics:
        lse = log(exp(lse1) + exp(lse2));  out = out1 * exp(lse1 - lse) + out2 * exp(lse2 - lse)
    """
    (out1, lse1), (out2, lse2) = first, second
    share = torch.sigmoid(lse2 - lse1).unsqueeze(-1)
    out = torch.lerp(out1.float(), out2.float(), share)
    return out.to(out1.dtype), torch.logaddexp(lse1, lse2)


def _weigh(scores: Float[Tensor, "N G M C"], v: Float[Tensor, "N G C D"]) -> Partial:
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - lse.unsqueeze(-1)).to(v.dtype)
    return Partial(weights @ v, lse)
