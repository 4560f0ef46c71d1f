"""Readings: keys and values of conversations, that all tails behind them attend to.

A reading by the frozen base model, or by a frozen reader, does not depend on any adapter: it is the same
for all of them and in every epoch. Those that fit the budget are kept; the others are read again when
their turn comes. While a reader is trained, its readings take gradients and live for one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from descant.model import AttentionKernel, LoraAdapter, SingleAdapter, Transformer
from descant.training.adapter_stack import AdapterStack


class LayerReading(NamedTuple):
    """One layer's keys and values of one conversation."""

    keys: Float[Tensor, "G T D"]
    values: Float[Tensor, "G T D"]
    gradient: list[tuple[Tensor, Tensor]] | None = None
    """Where gradients of keys and values are put down; None: they are constants."""


class Reading:
    """Keys and values of one conversation, every layer."""

    def __init__(self, layers: list[LayerReading]):
        self.layers = layers

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.layers[0].keys.shape[1]

    @property
    def num_bytes(self) -> int:
        """Over all layers."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)


class ReadingStore:
    """Reads conversations and keeps what fits."""

    def __init__(
        self,
        model: Transformer,
        kernel: AttentionKernel,
        max_bytes: int,
        reader: LoraAdapter | None = None,
    ):
        """Without a `reader` the base model alone reads."""
        self.model = model
        self.reader = reader
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
        token_ids, positions = _rows(prefixes, self.model.device)
        self.num_tokens_read += len(token_ids)
        recorder = _Recorder([len(prefix) for prefix in prefixes], self.kernel)
        with torch.no_grad():
            self.model(token_ids, positions, recorder, self._adapters(len(token_ids)))
        return recorder.readings()

    def backward(self) -> None:
        """Constants have no gradient."""

    def _adapters(self, num_tokens: int) -> SingleAdapter | None:
        if self.reader is None:
            return None
        everywhere = torch.ones(num_tokens, dtype=torch.bool, device=self.model.device)
        return SingleAdapter(self.reader, self.model.config, everywhere)


class LiveReadings:
    """Reads conversations under a reader that is being trained; nothing is kept."""

    def __init__(self, model: Transformer, reader: AdapterStack):
        """`reader` is a stack of one."""
        self.model = model
        self.active = reader.activate([0], model.dtype)
        self.reader = reader
        self.num_bytes = 0
        self.num_tokens_read = 0
        self._read: list[tuple[Tensor, Tensor, list[LayerReading]]] = []

    def renew(self) -> None:
        """Read under the reader as it is now."""
        self.active = self.reader.activate([0], self.model.dtype)

    def get(self, indices: Sequence[int], prefixes: Sequence[Sequence[int]]) -> list[Reading]:
        """Return the readings of the conversations at `indices`, ready to take gradients."""
        chosen = [prefixes[index] for index in indices]
        token_ids, positions = _rows(chosen, self.model.device)
        self.num_tokens_read += len(token_ids)
        recorder = _LiveRecorder([len(prefix) for prefix in chosen])
        self.model(token_ids, positions, recorder, self.active)
        self._read = recorder.read if torch.is_grad_enabled() else []
        return [Reading([layers[i] for _, _, layers in recorder.read]) for i in range(len(chosen))]

    def backward(self) -> None:
        """Pass on to the reader what the tails have put down since the last reading."""
        tensors, gradients = [], []
        for keys, values, layers in self._read:
            pairs = [_sum_of(layer) for layer in layers]
            tensors += [keys, values]
            gradients += [torch.cat([pair[i].transpose(0, 1) for pair in pairs]) for i in (0, 1)]
        self._read = []
        torch.autograd.backward(tensors, gradients)


def _sum_of(layer: LayerReading) -> tuple[Tensor, Tensor]:
    assert layer.gradient, "no tail attended to this reading"
    keys, values = zip(*layer.gradient, strict=True)
    return torch.stack(keys).sum(0), torch.stack(values).sum(0)


def _rows(prefixes: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids and positions of conversations one after the other."""
    token_ids = torch.tensor([t for prefix in prefixes for t in prefix], device=device)
    positions = torch.cat([torch.arange(len(prefix), device=device) for prefix in prefixes])
    return token_ids, positions


class _Recorder:
    """Causal attention within each conversation that keeps every layer's keys and values."""

    def __init__(self, lengths: list[int], kernel: AttentionKernel):
        self.lengths = lengths
        self.kernel = kernel
        self.layers: list[list[LayerReading]] = [[] for _ in lengths]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(torch.split(x, self.lengths) for x in (q, k, v)), strict=True)
        outs = []
        for index, heads in enumerate(parts):
            own_q, own_k, own_v = (x.transpose(0, 1).unsqueeze(0) for x in heads)
            outs.append(self.kernel.causal(own_q, own_k, own_v).out[0].transpose(0, 1))
            self.layers[index].append(LayerReading(own_k[0].contiguous(), own_v[0].contiguous()))
        return torch.cat(outs)

    def readings(self) -> list[Reading]:
        return [Reading(layers) for layers in self.layers]


class _LiveRecorder:
    """Causal attention with gradient within each conversation that keeps every layer's keys and values."""

    def __init__(self, lengths: list[int]):
        self.lengths = lengths
        self.read: list[tuple[Tensor, Tensor, list[LayerReading]]] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = list(zip(*(torch.split(x, self.lengths) for x in (q, k, v)), strict=True))
        constants = [LayerReading(_constant(own[1]), _constant(own[2]), []) for own in parts]
        self.read.append((k, v, constants))
        return torch.cat([_attend(*own) for own in parts])


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # Key heads are repeated: with fewer of them than query heads, the quick way on the CPU is off.
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1)


def _constant(x: Float[Tensor, "T G D"]) -> Float[Tensor, "G T D"]:
    return x.detach().transpose(0, 1).contiguous()
