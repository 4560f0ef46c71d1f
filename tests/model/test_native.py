"""The C++ operations equal their plain twins on bfloat16; skipped where they cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.model import MatmulKernel, NativeKernel, Partial, load_native, merge
from descant.model.linear import TiledPair, TiledWeight, has_tiles
from descant.model.native import _built
from descant.model.ops import NativeOps, Ops, Rotation, TorchOps
from descant.model.partial_attention import TileKernel
from descant.model.quantization import quantize_channels, to_byte, to_two_bytes

pytestmark = pytest.mark.skipif(not load_native(), reason="no C++ compiler")


needs_amx = pytest.mark.skipif(
    not has_tiles(torch.zeros(32, 32, dtype=torch.bfloat16)), reason="no AMX on this processor"
)


def random(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(torch.bfloat16)


def close(fast: torch.Tensor, slow: torch.Tensor) -> bool:
    """Equal up to one rounding to bfloat16, here and there."""
    return torch.allclose(fast.float(), slow.float(), rtol=2**-7, atol=1e-3) and (
        (fast == slow).float().mean() > 0.97
    )


SEEDS = st.integers(0, 10_000)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, tokens=st.integers(1, 40), width=st.sampled_from([8, 96, 576]))
def test_norms_rotations_and_gates(seed: int, tokens: int, width: int) -> None:
    fused = random(seed, tokens, 2 * width)
    weight = random(seed + 1, width)
    left, right = fused.split(width, -1)
    assert close(
        NativeOps().rms_norm(left.contiguous(), weight, 1e-5),
        TorchOps().rms_norm(left, weight, 1e-5),
    )
    assert close(NativeOps().rms_norm(left, weight, 1e-5), TorchOps().rms_norm(left, weight, 1e-5))
    assert close(NativeOps().gate(left, right), TorchOps().gate(left, right))
    wide = 200 * left
    fast, slow = NativeOps().gate(wide, right), TorchOps().gate(wide, right)
    assert torch.allclose(fast, slow, rtol=2**-7, atol=1e-30)
    for fast, slow in zip(
        NativeOps().add_rms_norm(left, right, weight, 1e-5),
        TorchOps().add_rms_norm(left, right, weight, 1e-5),
        strict=True,
    ):
        assert close(fast, slow)
    heads = left.unflatten(-1, (-1, 8))
    rotation = Rotation(random(seed + 2, tokens, 1, 8), random(seed + 3, tokens, 1, 8))
    assert torch.equal(NativeOps().rotate(heads, rotation), TorchOps().rotate(heads, rotation))


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    share=st.integers(1, 4),
    dim=st.sampled_from([8, 64, 80]),
)
def test_single_tokens_over_scattered_slots(
    seed: int, lengths: list[int], share: int, dim: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    groups, num_slots = 2, 90
    keys, values = random(seed, groups, num_slots, dim), random(seed + 1, groups, num_slots, dim)
    fused = random(seed + 2, len(lengths), groups * share * dim + 16)
    q = fused[:, : groups * share * dim].unflatten(-1, (-1, dim))
    slots = torch.stack(
        [torch.randperm(num_slots, generator=generator)[: max(lengths)] for _ in lengths]
    )
    arguments = (q, keys, values, slots, torch.tensor(lengths))
    fast, slow = NativeKernel().decode(*arguments), MatmulKernel().decode(*arguments)
    # The twin rounds its scores to bfloat16.
    assert torch.allclose(fast.float(), slow.float(), atol=0.03)
    exact = MatmulKernel().decode(*(x.float() for x in arguments[:3]), *arguments[3:])
    # Weights are rounded to bfloat16, as its products are.
    assert torch.allclose(fast.float(), exact, atol=0.02)


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    tokens=st.integers(1, 16),
    share=st.integers(1, 3),
    dim=st.sampled_from([8, 64, 80]),
)
def test_a_few_tokens_among_themselves(seed: int, tokens: int, share: int, dim: int) -> None:
    fused = random(seed, 3, tokens, 2 * (share + 2), dim).transpose(1, 2)
    q, k, v = fused.split([2 * share, 2, 2], 1)
    fast = NativeKernel().causal(q, k, v)
    slow = MatmulKernel().causal(q.float(), k.float(), v.float())
    assert torch.allclose(fast.out.float(), slow.out, rtol=2**-7, atol=1e-3)
    assert torch.allclose(fast.lse, slow.lse, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, width=st.sampled_from([8, 64, 576, 600]), outputs=st.integers(1, 200))
def test_one_row_by_a_weight(seed: int, width: int, outputs: int) -> None:
    x, weight = random(seed, 1, width), random(seed + 1, outputs, width)
    got = torch.ops.descant.linear_row(x, weight).float()
    exact = x.float() @ weight.float().T
    assert torch.allclose(got, exact, rtol=2**-7, atol=0.02)


@needs_amx
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, tokens=st.integers(1, 80), width=st.sampled_from([32, 96, 576]))
def test_tiles(seed: int, tokens: int, width: int) -> None:
    wide, weight = random(seed, tokens, width + 8), random(seed + 1, 64, width)
    x = wide[:, :width]
    got = TiledWeight(weight)(x)
    assert torch.allclose(got.float(), x.float() @ weight.float().T, rtol=2**-7, atol=0.02)
    # A token's output does not depend on the others.
    alone = torch.cat([TiledWeight(weight)(x[token : token + 1]) for token in range(tokens)])
    assert torch.equal(got, alone)


@needs_amx
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, tokens=st.integers(1, 80))
def test_tiles_of_two_modules_that_take_turns(seed: int, tokens: int) -> None:
    x, weight = random(seed, tokens, 64), random(seed + 1, 128, 64)
    pair = TiledPair(weight)
    assert torch.equal(pair(x), torch.cat([TiledWeight(w)(x) for w in weight.split(64)], -1))
    assert torch.equal(pair.gate(x), NativeOps().gate(*pair(x).split(64, -1)))


@needs_amx
@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    queries=st.integers(1, 90),
    keys=st.integers(1, 300),
    dim=st.sampled_from([32, 64, 128]),
    is_causal=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 8.0, 64.0]),
)
def test_attention_on_tiles(
    seed: int, queries: int, keys: int, dim: int, is_causal: bool, scale: float
) -> None:
    keys = queries if is_causal else keys
    heads = 4 if is_causal else 2
    q = (random(seed, 2, queries, heads, dim) * scale).transpose(1, 2)
    k, v = random(seed + 1, 2, 2, keys, dim), random(seed + 2, 2, 2, keys, dim)
    fast, slow = (
        kernel.causal(*x) if is_causal else kernel.dense(*x)
        for kernel, x in (
            (TileKernel(), (q, k, v)),
            (MatmulKernel(), (q.float(), k.float(), v.float())),
        )
    )
    # Weights are cut to bfloat16.
    assert torch.allclose(fast.out.float(), slow.out, atol=0.02, rtol=2**-7)
    assert torch.allclose(fast.lse, slow.lse, atol=1e-3, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, width=st.sampled_from([8, 64, 576, 600]), two=st.booleans())
def test_one_row_by_bytes(seed: int, width: int, two: bool) -> None:
    x = random(seed, 1, width)
    values, scale = quantize_channels(random(seed + 1, 70, width))
    sums = values.sum(-1, dtype=torch.int32)
    got = torch.ops.descant.byte_row(x, values, scale, sums, two).float()
    weight = values.double() * scale[:, None].double()
    if two:
        high, low, step = to_two_bytes(x)
        rounded = (256 * (high.double() - 128) + low.double() - 128) * step.double()
    else:
        digit, step = to_byte(x)
        rounded = (digit.double() - 128) * step.double()
    exact = rounded @ weight.T
    assert torch.allclose(got.double(), exact, rtol=2**-7, atol=1e-5 * float(exact.abs().max()))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, tokens=st.integers(1, 9), width=st.sampled_from([8, 96]))
def test_gradients(seed: int, tokens: int, width: int) -> None:
    rotation = Rotation(random(seed + 2, tokens, 1, 8), random(seed + 3, tokens, 1, 8))
    weight, pull = random(seed + 1, width), random(seed + 4, tokens, width)

    def through(ops: Ops, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        fused = random(seed, tokens, 2 * width).to(dtype).requires_grad_()
        turn = Rotation(*(x.to(dtype) for x in rotation))
        left, right = fused.split(width, -1)
        heads = ops.rotate(left.unflatten(-1, (-1, 8)), turn).flatten(1)
        out = ops.gate(ops.rms_norm(heads, weight.to(dtype), 1e-5), right)
        out.backward(pull.to(dtype))
        assert fused.grad is not None
        return out.detach().float(), fused.grad.float()

    exact = through(TorchOps(), torch.float32)
    for fast, slow in zip(through(NativeOps(), torch.bfloat16), exact, strict=True):
        assert (fast - slow).norm() < 0.02 * slow.norm()


def test_a_compiler_that_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-compiler"):
        _built("no-such-compiler", tmp_path)
    assert list(tmp_path.glob("*.so")) == []


@needs_amx
@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    queries=st.integers(12, 90),
    keys=st.integers(1, 300),
    dim=st.sampled_from([32, 64, 128]),
    scale=st.sampled_from([0.1, 1.0, 8.0, 64.0]),
)
def test_gradient_of_queries_on_tiles(
    seed: int, queries: int, keys: int, dim: int, scale: float
) -> None:
    q, grad = random(seed, 2, 3, queries, dim) * scale, random(seed + 1, 2, queries, 3, dim)
    grad = grad.transpose(1, 2)
    k, v = random(seed + 2, 2, 3, keys, dim), random(seed + 3, 2, 3, keys, dim)
    # Further keys, whose share these do not see, weigh as much as these.
    part = MatmulKernel().dense(q.float(), k.float(), v.float())
    other = random(seed + 4, *part.out.shape).float()
    whole = Partial(*merge(part, (other, part.lse)))
    exact = MatmulKernel().dense_query_gradient(
        grad.float(), q.float(), k.float(), v.float(), whole
    )
    fast = TileKernel().dense_query_gradient(
        grad, q, k, v, Partial(whole.out.to(q.dtype), whole.lse)
    )
    assert (fast.float() - exact).norm() <= 0.01 * exact.norm() + 1e-3
