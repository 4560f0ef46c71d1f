"""The merged, hand-differentiated attention equals plain autograd over one score matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.model import CpuFlashKernel, MatmulKernel
from descant.training.tail_attention import PaddedReading, TailAttention


def dense_twin(q, k, v, reading: PaddedReading) -> torch.Tensor:
    """Every tail token over [its reading, its own tail], all scores in one matrix."""
    group = q.shape[3] // k.shape[3]
    num_tokens, width = q.shape[2], reading.keys.shape[2]
    past_k, past_v = (
        x.repeat_interleave(group, 1)[None].expand(q.shape[0], -1, -1, -1, -1)
        for x in (reading.keys, reading.values)
    )
    own_k, own_v = (x.repeat_interleave(group, 3).transpose(2, 3) for x in (k, v))
    keys, values = torch.cat([past_k, own_k], 3), torch.cat([past_v, own_v], 3)
    scores = q.transpose(2, 3) @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
    hidden = torch.zeros(q.shape[1], num_tokens, width + num_tokens)
    if reading.mask is not None:
        hidden[:, :, :width] = reading.mask[:, None]
    future = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu(1)
    hidden[:, :, width:].masked_fill_(future, -torch.inf)
    return (torch.softmax(scores + hidden[None, :, None], -1) @ values).transpose(2, 3)


@pytest.mark.parametrize("kernel", [MatmulKernel(), CpuFlashKernel()])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    adapters=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    tokens=st.integers(1, 4),
)
def test_output_and_gradients_equal_autograd(
    kernel: object, seed: int, adapters: int, lengths: list[int], tokens: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    shape = (adapters, len(lengths), tokens)
    q, k, v = random(*shape, 4, 8), random(*shape, 2, 8), random(*shape, 2, 8)
    width = max(lengths)
    mask = torch.tensor([[0.0 if t < n else -1e30 for t in range(width)] for n in lengths])
    ragged = any(n < width for n in lengths)
    keys, values = random(len(lengths), 2, width, 8), random(len(lengths), 2, width, 8)
    reading = PaddedReading(keys, values, mask if ragged else None)
    pull = random(*shape, 4, 8)

    results = []
    for attend in (lambda *x: TailAttention.apply(*x, reading, kernel), None):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attend(*leaves) if attend else dense_twin(*leaves, reading)
        (out * pull).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for fast, slow in zip(*results, strict=True):
        assert torch.allclose(fast, slow, atol=2e-5)
