"""Parts of attention merge into the whole, on every kernel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.model import AttentionKernel, CpuFlashKernel, MatmulKernel, merge

KERNELS = [MatmulKernel(), CpuFlashKernel()]


def whole(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 19), seed=st.integers(0, 999), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_two_parts_merge_into_the_whole(
    kernel: AttentionKernel, cut: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 3, n, 8, generator=generator) * scale for n in (5, 20, 20))
    first = kernel.dense(q, k[:, :, :cut], v[:, :, :cut])
    second = kernel.dense(q, k[:, :, cut:], v[:, :, cut:])
    out, _ = merge(first, second)
    assert torch.allclose(out, whole(q, k, v), atol=1e-4 * max(scale, 1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_masked_keys_do_not_count(kernel: AttentionKernel) -> None:
    q, k, v = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9, 8)
    mask = torch.zeros(2, 9)
    mask[1, 5:] = -1e30
    part = kernel.dense(q, k, v, mask)
    assert torch.allclose(part.out[0], whole(q, k, v)[0], atol=1e-5)
    assert torch.allclose(part.out[1], whole(q, k[:, :, :5], v[:, :, :5])[1], atol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 256, 300, 513])
def test_causal_kernels_agree_with_each_other_and_with_the_definition(length: int) -> None:
    q, k, v = (
        torch.randn(1, 4, length, 8),
        torch.randn(1, 2, length, 8),
        torch.randn(1, 2, length, 8),
    )
    parts = [kernel.causal(q, k, v) for kernel in KERNELS]
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=True
    )
    for part in parts:
        assert torch.allclose(part.out, expected, atol=1e-5)
        assert torch.allclose(part.lse, parts[0].lse, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2, 6, 9), (1, 1, 400, 400)])
def test_every_kernel_gives_the_gradient_of_autograd(shape: tuple[int, int, int, int]) -> None:
    groups, heads, rows, keys = shape
    q = torch.randn(groups, heads, rows, 8, requires_grad=True)
    k, v = torch.randn(groups, heads, keys, 8), torch.randn(groups, heads, keys, 8)
    grad = torch.randn(groups, heads, rows, 8)
    (whole(q, k, v) * grad).sum().backward()
    for kernel in KERNELS:
        part = kernel.dense(q.detach(), k, v)
        got = kernel.dense_query_gradient(grad, q.detach(), k, v, part)
        assert torch.allclose(got, q.grad, atol=1e-5)
