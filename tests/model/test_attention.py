from __future__ import annotations

import torch

from descant.model import DenseCausal


def _naive(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    group = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    for t in range(len(q)):
        for head in range(q.shape[1]):
            scores = k[: t + 1, head // group] @ q[t, head] / q.shape[-1] ** 0.5
            out[t, head] = scores.softmax(0) @ v[: t + 1, head // group]
    return out


def test_each_sequence_sees_its_own_past_and_nothing_else() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(12, 4, 8), torch.randn(12, 2, 8), torch.randn(12, 2, 8)
    lengths = [5, 1, 6]
    parts = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    expected = torch.cat([_naive(*part) for part in parts])
    assert torch.allclose(DenseCausal(lengths)(0, q, k, v), expected, atol=1e-5)
    assert torch.allclose(DenseCausal()(0, q, k, v), _naive(q, k, v), atol=1e-5)
