"""Runs one step: a `StepBatch` in, the hidden states somebody wants out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from descant.engine.adapter_pool import AdapterPool, BatchedLora
from descant.engine.batch import FreshPart, PastPart, StepBatch
from descant.engine.kv_cache import KvCache
from descant.model import AttentionKernel, Transformer, merge


class PagedAttend:
    """Attention of one step over its fresh keys and the cached past ones, merged by log-sum-exp."""

    def __init__(self, batch: StepBatch, cache: KvCache, kernel: AttentionKernel):
        self.batch = batch
        self.cache = cache
        self.kernel = kernel

    def __call__(
        self,
        layer: int,
        q: Float[Tensor, "T H D"],
        k: Float[Tensor, "T G D"],
        v: Float[Tensor, "T G D"],
    ) -> Float[Tensor, "T H D"]:
        """Store the new keys and values, and return each token's attention output."""
        k, v = self.cache.write(layer, self.batch.write_slots, k, v)
        decode = self.batch.decode
        if decode is None:
            return self._in_parts(layer, q, k, v)
        count = decode.num_rows
        cached = self.cache.pool(layer, decode.slots)
        single = self.kernel.decode(q[:count], *cached, decode.lengths)
        if count == len(q):
            return single
        return torch.cat([single, self._in_parts(layer, q[count:], k[count:], v[count:])])

    def _in_parts(
        self,
        layer: int,
        q: Float[Tensor, "T H D"],
        k: Float[Tensor, "T G D"],
        v: Float[Tensor, "T G D"],
    ) -> Float[Tensor, "T H D"]:
        """Return the attention output of the rows behind the single ones."""
        parts = [self._fresh(part, q, k, v) for part in self.batch.fresh]
        out = _concatenate([part[0] for part in parts])
        lse = _concatenate([part[1] for part in parts])
        for part in self.batch.past:
            merged = merge((out[part.rows], lse[part.rows]), self._past(layer, part, q))
            if part.rows == slice(0, len(q)):
                out, lse = merged
            else:
                out[part.rows], lse[part.rows] = merged
        return out

    def _fresh(self, part: FreshPart, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        shape = (part.num_sequences, part.tokens_each, -1, q.shape[-1])
        rows = (x[part.rows].reshape(shape).transpose(1, 2) for x in (q, k, v))
        out, lse = self.kernel.causal(*rows)
        return out.transpose(1, 2).flatten(0, 1), lse.transpose(1, 2).flatten(0, 1)

    def _past(self, layer: int, part: PastPart, q: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.cache.read(layer, part.slots)
        # The heads that share a key head become further rows of the same product.
        num_heads, head_dim = q.shape[1:]
        grouped = (part.num_groups, part.rows_each, keys.shape[1], -1, head_dim)
        rows = q[part.rows].reshape(grouped).transpose(1, 2)
        out, lse = self.kernel.dense(rows.flatten(2, 3), keys, values, part.mask)
        out = out.view(rows.shape).transpose(1, 2).reshape(-1, num_heads, head_dim)
        lse = lse.view(rows.shape[:-1]).transpose(1, 2).reshape(-1, num_heads)
        return out, lse


class Runner:
    """Owns the tensors of the cache and drives the model."""

    def __init__(
        self, model: Transformer, cache: KvCache, pool: AdapterPool, kernel: AttentionKernel
    ):
        self.model = model
        self.cache = cache
        self.pool = pool
        self.kernel = kernel

    def run(self, batch: StepBatch) -> Float[Tensor, "T E"]:
        """Compute the step and return the hidden states of all its rows."""
        attend = PagedAttend(batch, self.cache, self.kernel)
        rows = batch.adapter_rows
        adapters = None if rows is None else BatchedLora(self.pool, rows)
        with torch.inference_mode():
            hidden: Tensor = self.model(batch.token_ids, batch.positions, attend, adapters)
        return hidden


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
