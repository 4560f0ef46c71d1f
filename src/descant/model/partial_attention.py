"""Attention over a part of the keys, with what is needed to join the parts.

In: queries, and some of the keys they may see. Out: the attention output over just those keys and
the log-sum-exp of their scores. Two parts over disjoint keys merge into attention over both, so one
shared prefix can serve many private tails (Hydragen, arXiv 2402.05099). Knows nothing of blocks,
sequences or adapters.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.model.native import has_amx, is_native

_QUERY_BLOCK = 256
_MIN_TILE_QUERIES = 12
_MAX_SHORT_TOKENS = 16

# Finite, so that a row that sees nothing merges right.
_HIDDEN = -1e30

# N groups, H query heads on G key heads of size D, M rows or S tokens of a chunk over C or S keys.
# Keys stand for values too.
Rows = Float[Tensor, "N G M D"]
Keys = Float[Tensor, "N G C D"]
Mask = Float[Tensor, "N C"]
Chunk = Float[Tensor, "N H S D"]
ChunkKeys = Float[Tensor, "N G S D"]
Tokens = Float[Tensor, "N H D"]
Pool = Float[Tensor, "G S D"]
Slots = Int[Tensor, "N C"]
Lengths = Int[Tensor, " N"]


class Partial(NamedTuple):
    """Attention over some of the keys."""

    out: Rows
    lse: Float[Tensor, "N G M"]
    """Natural logarithm of the sum of exponentiated scores, float32."""


@runtime_checkable
class AttentionKernel(Protocol):
    """How a part is computed; every implementation returns the same up to rounding."""

    def dense(self, q: Rows, k: Keys, v: Keys, mask: Mask | None = None) -> Partial:
        """Let every query see every key; `mask` is added to the scores (0 or a large negative).

        Semantics:
            out[m] = sum_c softmax_c(q[m] . k[c] / sqrt(D) + mask[c]) v[c]
        """
        ...

    def dense_query_gradient(self, grad: Rows, q: Rows, k: Keys, v: Keys, whole: Partial) -> Rows:
        """Return this part's share of the queries' gradient; the keys are constants.

        `whole` is the attention over all parts, merged: each part's weights follow from its
        log-sum-exp, so the parts need not be brought together again.

        Semantics:
            P[c] = exp(q . k[c] / sqrt(D) - lse)
            dq = sum_c P[c] (grad . v[c] - grad . out) k[c] / sqrt(D)
        """
        ...

    def causal(self, q: Chunk, k: ChunkKeys, v: ChunkKeys) -> Partial:
        """Let query s see keys 0..s; query head h reads key head h // (H / G)."""
        ...

    def decode(self, q: Tokens, keys: Pool, values: Pool, slots: Slots, lengths: Lengths) -> Tokens:
        """Let one query of each of N sequences see the first `lengths[n]` of its slots.

        Slots behind these are padding and may hold anything that exists.
        """
        ...


class MatmulKernel:
    """Plain matrix products: runs anywhere, and is the slow twin of every other kernel."""

    def dense(self, q: Rows, k: Keys, v: Keys, mask: Mask | None = None) -> Partial:
        """See `AttentionKernel.dense`."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        scores = scores.float()
        if mask is not None:
            scores = scores + mask[:, None, None, :]
        return _weigh(scores, v)

    def dense_query_gradient(self, grad: Rows, q: Rows, k: Keys, v: Keys, whole: Partial) -> Rows:
        """See `AttentionKernel.dense_query_gradient`."""
        # The subtractions ride along in the products as further columns, where sums are float32:
        # scores need no float32 copies, and are rounded once, after lse is taken off.
        scale = q.shape[-1] ** -0.5
        delta = (grad.float() * whole.out.float()).sum(-1)
        rows = _with_columns(q * scale, -whole.lse)
        pulls = _with_columns(grad, -delta)
        keys, values = (_with_ones(x, rows.shape[-1]) for x in (k, v))
        weights = (rows @ keys).exp_().mul_(pulls @ values)
        return (weights @ k).mul_(scale)

    def causal(self, q: Chunk, k: ChunkKeys, v: ChunkKeys) -> Partial:
        """See `AttentionKernel.causal`; query blocks skip the keys none of their rows may see."""
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        parts = [self._causal_rows(q, k, v, start) for start in range(0, q.shape[2], _QUERY_BLOCK)]
        return Partial(
            torch.cat([part.out for part in parts], 2), torch.cat([part.lse for part in parts], 2)
        )

    def decode(self, q: Tokens, keys: Pool, values: Pool, slots: Slots, lengths: Lengths) -> Tokens:
        """See `AttentionKernel.decode`."""
        own_keys, own_values = (
            x.index_select(1, slots.flatten()).view(len(x), *slots.shape, -1).transpose(0, 1)
            for x in (keys, values)
        )
        places = torch.arange(slots.shape[1], device=slots.device)
        mask = torch.where(places < lengths[:, None], 0.0, _HIDDEN)
        # The heads that share a key head become further rows of the same product.
        rows = q.reshape(len(q), len(keys), -1, q.shape[-1])
        return self.dense(rows, own_keys, own_values, mask).out.reshape(q.shape)

    def _causal_rows(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Partial:
        stop = min(start + _QUERY_BLOCK, q.shape[2])
        scores = (q[:, :, start:stop] * q.shape[-1] ** -0.5) @ k[:, :, :stop].transpose(-1, -2)
        future = torch.ones(stop - start, stop, dtype=torch.bool, device=q.device).triu(start + 1)
        return _weigh(scores.float().masked_fill(future, -torch.inf), v[:, :, :stop])


class CpuFlashKernel(MatmulKernel):
    """PyTorch's fused CPU kernel: quickest where bfloat16 matrix products are native (AMX)."""

    def dense(self, q: Rows, k: Keys, v: Keys, mask: Mask | None = None) -> Partial:
        """See `AttentionKernel.dense`."""
        added = None if mask is None else mask[:, None, None, :].to(q.dtype)
        return Partial(
            *torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, False, attn_mask=added
            )
        )

    def causal(self, q: Chunk, k: ChunkKeys, v: ChunkKeys) -> Partial:
        """See `AttentionKernel.causal`."""
        group = q.shape[1] // k.shape[1]
        return Partial(
            *torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), 0.0, True
            )
        )


class NativeKernel(MatmulKernel):
    """A token of each sequence, or a few, in C++: keys are read where they are, and copied nowhere."""

    def causal(self, q: Chunk, k: ChunkKeys, v: ChunkKeys) -> Partial:
        """See `AttentionKernel.causal`."""
        if q.shape[2] > _MAX_SHORT_TOKENS:
            return super().causal(q, k, v)
        rows = map(_with_dense_rows, (q, k, v))
        return Partial(*torch.ops.descant.short_attention.default(*rows))

    def decode(self, q: Tokens, keys: Pool, values: Pool, slots: Slots, lengths: Lengths) -> Tokens:
        """See `AttentionKernel.decode`."""
        out: Tensor = torch.ops.descant.decode_attention.default(q, keys, values, slots, lengths)
        return out


class TileKernel(NativeKernel, CpuFlashKernel):
    """C++ on AMX tiles, 32 queries by 128 keys at a time; the fused kernel where those are fewer."""

    def dense(self, q: Rows, k: Keys, v: Keys, mask: Mask | None = None) -> Partial:
        """See `AttentionKernel.dense`."""
        if mask is not None or not _fits_tiles(q):
            return super().dense(q, k, v, mask)
        return _tile_attention(q, k, v, is_causal=False)

    def causal(self, q: Chunk, k: ChunkKeys, v: ChunkKeys) -> Partial:
        """See `AttentionKernel.causal`."""
        return (
            _tile_attention(q, k, v, is_causal=True) if _fits_tiles(q) else super().causal(q, k, v)
        )

    def dense_query_gradient(self, grad: Rows, q: Rows, k: Keys, v: Keys, whole: Partial) -> Rows:
        """See `AttentionKernel.dense_query_gradient`."""
        if not _fits_tiles(q):
            return super().dense_query_gradient(grad, q, k, v, whole)
        grad, q, out, k, v = map(_with_dense_rows, (grad, q, whole.out, k, v))
        gradient: Tensor = torch.ops.descant.tile_query_gradient.default(
            grad, q, out, whole.lse.contiguous(), k, v
        )
        return gradient


def choose_kernel(device: torch.device, dtype: torch.dtype) -> AttentionKernel:
    """Return the quickest kernel for this processor.

    The fused CPU kernel calls a library whose bfloat16 products are slow without AMX; there, plain
    batched products go to oneDNN and win. The choice depends on the processor alone, never on a
    timing, so that the same machine always computes the same bits.
    """
    if device.type != "cpu":
        return MatmulKernel()
    if dtype == torch.float32:
        return CpuFlashKernel()
    has_native = is_native(device, dtype)
    if has_amx(device, dtype):
        return TileKernel()
    if torch.cpu._is_amx_tile_supported():
        return CpuFlashKernel()
    return NativeKernel() if has_native else MatmulKernel()


def _fits_tiles(q: Tensor) -> bool:
    head_dim = q.shape[-1]
    # Fewer queries leave most of a tile empty.
    return head_dim % 32 == 0 and head_dim <= 128 and q.shape[-2] >= _MIN_TILE_QUERIES


def _tile_attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Partial:
    rows = map(_with_dense_rows, (q, k, v))
    return Partial(*torch.ops.descant.tile_attention.default(*rows, is_causal))


def _with_dense_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _with_columns(x: Rows, added: Float[Tensor, "N G M"]) -> Tensor:
    """Return [x, added, 0...]; `added` stands in two columns that sum to it in twice x's precision.

    Widths are multiples of the processor's tiles: an odd width takes longer than the next even one.
    """
    size = x.shape[-1]
    wide = x.new_empty(*x.shape[:-1], _padded_width(size))
    wide[..., :size] = x
    wide[..., size + 2 :] = 0.0
    wide[..., size] = added
    wide[..., size + 1] = added - wide[..., size].float()
    return wide


def _with_ones(x: Keys, width: int) -> Float[Tensor, "N G W C"]:
    """Return [x, 1, 1, 0...], transposed: what multiplies `_with_columns`."""
    size = x.shape[-1]
    wide = x.new_empty(*x.shape[:2], width, x.shape[2])
    wide[:, :, :size] = x.transpose(-1, -2)
    wide[:, :, size : size + 2] = 1.0
    wide[:, :, size + 2 :] = 0.0
    return wide


def _padded_width(size: int) -> int:
    return -(-(size + 2) // 32) * 32


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


def _weigh(scores: Float[Tensor, "N G M C"], v: Keys) -> Partial:
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - lse.unsqueeze(-1)).to(v.dtype)
    return Partial(weights @ v, lse)
