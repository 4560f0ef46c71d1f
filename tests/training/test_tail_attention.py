"""The merged, hand-differentiated attention equals plain autograd over one score matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.model import CpuFlashKernel, MatmulKernel
from descant.training.readings import LayerReading
from descant.training.tail_attention import TailAttention

Readings = list[tuple[torch.Tensor, torch.Tensor]]


def dense_twin(q, k, v, readings: Readings) -> torch.Tensor:
    """Every tail token over [its reading, its own tail], all scores in one matrix."""
    group = q.shape[3] // k.shape[3]
    num_tokens = q.shape[2]
    outs = []
    for index, reading in enumerate(readings):
        past_k, past_v = (
            x.repeat_interleave(group, 0)[None].expand(q.shape[0], -1, -1, -1) for x in reading
        )
        own_k, own_v = (x[:, index].repeat_interleave(group, 2).transpose(1, 2) for x in (k, v))
        keys, values = torch.cat([past_k, own_k], 2), torch.cat([past_v, own_v], 2)
        scores = q[:, index].transpose(1, 2) @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        hidden = torch.ones(num_tokens, keys.shape[2], dtype=torch.bool)
        hidden = hidden.triu(1 + keys.shape[2] - num_tokens)
        weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
        outs.append((weights @ values).transpose(1, 2))
    return torch.stack(outs, 1)


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
    readings = [(random(2, length, 8), random(2, length, 8)) for length in lengths]
    pull = random(*shape, 4, 8)

    live = [LayerReading(*reading, []) for reading in readings]
    fast = [x.clone().requires_grad_() for x in (q, k, v)]
    out = TailAttention.apply(*fast, live, kernel)
    (out * pull).sum().backward()
    slow = [x.clone().requires_grad_() for x in (q, k, v)]
    learned = [tuple(x.clone().requires_grad_() for x in reading) for reading in readings]
    expected = dense_twin(*slow, learned)
    (expected * pull).sum().backward()
    assert torch.allclose(out, expected, atol=2e-5)
    for got, wanted in zip(fast, slow, strict=True):
        assert torch.allclose(got.grad, wanted.grad, atol=2e-5)
    for reading, leaves in zip(live, learned, strict=True):
        [gradients] = reading.gradient
        for got, leaf in zip(gradients, leaves, strict=True):
            assert torch.allclose(got, leaf.grad, atol=2e-5)
