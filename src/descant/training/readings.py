"""Readings: what the frozen base model makes of each conversation, computed without gradient.

A reading does not depend on any adapter, so it is the same for all of them and in every epoch. Those
that fit the budget are kept; the others are read again when their turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from descant.model import AttentionKernel, Transformer


class Reading:
    """Keys and values of one conversation, every layer."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]):
        """Take [G, T, D] per layer."""
        self.keys = keys
        self.values = values

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.keys[0].shape[1]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, [G, T, D]."""
        return self.keys[index], self.values[index]

    @property
    def num_bytes(self) -> int:
        """Over all layers."""
        return sum(x.nbytes for x in (*self.keys, *self.values))


class ReadingStore:
    """Reads conversations and keeps what fits."""

    def __init__(self, model: Transformer, kernel: AttentionKernel, max_bytes: int):
        self.model = model
        self.kernel = kernel
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_tokens_read = 0
        self._kept: dict[int, Reading] = {}

    def get(self, indices: Sequence[int], prefixes: Sequence[Sequence[int]]) -> list[Reading]:
        """Return the readings of the conversations at `indices`, reading what is not kept."""
        missing = [index for index in indices if index not in self._kept]
        fresh = dict(zip(missing, self._read([prefixes[i] for i in missing]), strict=True))
        for index, reading in fresh.items():
            if self.num_bytes + reading.num_bytes <= self.max_bytes:
                self._kept[index] = reading
                self.num_bytes += reading.num_bytes
        return [self._kept.get(index) or fresh[index] for index in indices]

    def _read(self, prefixes: Sequence[Sequence[int]]) -> list[Reading]:
        if not prefixes:
            return []
        lengths = [len(prefix) for prefix in prefixes]
        self.num_tokens_read += sum(lengths)
        device = self.model.device
        token_ids = torch.tensor([t for prefix in prefixes for t in prefix], device=device)
        positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        recorder = _Recorder(lengths, self.kernel)
        with torch.no_grad():
            self.model(token_ids, positions, recorder)
        return recorder.readings()


class _Recorder:
    """Causal attention within each conversation that keeps every layer's keys and values."""

    def __init__(self, lengths: list[int], kernel: AttentionKernel):
        self.lengths = lengths
        self.kernel = kernel
        self.keys: list[list[Tensor]] = [[] for _ in lengths]
        self.values: list[list[Tensor]] = [[] for _ in lengths]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(torch.split(x, self.lengths) for x in (q, k, v)), strict=True)
        outs = []
        for index, heads in enumerate(parts):
            own_q, own_k, own_v = (x.transpose(0, 1).unsqueeze(0) for x in heads)
            outs.append(self.kernel.causal(own_q, own_k, own_v).out[0].transpose(0, 1))
            self.keys[index].append(own_k[0].contiguous())
            self.values[index].append(own_v[0].contiguous())
        return torch.cat(outs)

    def readings(self) -> list[Reading]:
        return [Reading(k, v) for k, v in zip(self.keys, self.values, strict=True)]
