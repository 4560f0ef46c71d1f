"""The update that is written out equals plain autograd, output and every gradient."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.training.low_rank_update import LowRankUpdate

WIDTHS = (6, 3, 3)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    adapters=st.integers(1, 4),
    tokens=st.integers(1, 5),
    rank=st.integers(1, 3),
    modules=st.sets(st.integers(0, 2), min_size=1),
)
def test_equals_autograd(
    seed: int, adapters: int, tokens: int, rank: int, modules: set[int]
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    present = sorted(modules)
    starts = tuple(sum(WIDTHS[:module]) for module in present)
    x, weight = random(adapters * tokens, 5), random(5, sum(WIDTHS))
    shrink = random(adapters, 5, rank * len(present))
    expands = [random(adapters, rank, WIDTHS[module]) for module in present]
    pull = random(adapters * tokens, sum(WIDTHS))

    def plain(x: torch.Tensor, y: torch.Tensor, *matrices: torch.Tensor) -> torch.Tensor:
        rows = []
        for token in range(len(x)):
            adapter = token // tokens
            low = 0.5 * x[token] @ matrices[0][adapter]
            update = torch.zeros(sum(WIDTHS), dtype=x.dtype)
            for index, (start, expand) in enumerate(zip(starts, matrices[1:], strict=True)):
                piece = low[index * rank : (index + 1) * rank] @ expand[adapter]
                update = update + torch.nn.functional.pad(
                    piece, (start, len(update) - start - len(piece))
                )
            rows.append(y[token] + update)
        return torch.stack(rows)

    def fast(x: torch.Tensor, y: torch.Tensor, *matrices: torch.Tensor) -> torch.Tensor:
        return LowRankUpdate.apply(x, y, 0.5, starts, *matrices)

    results = []
    for update in (plain, fast):
        leaves = [z.clone().requires_grad_() for z in (x, weight, shrink, *expands)]
        out = update(leaves[0], leaves[0] @ leaves[1], *leaves[2:])
        (out * pull).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for slow, quick in zip(*results, strict=True):
        assert torch.allclose(slow, quick, atol=1e-10)
