"""Tiled stacks equal the plain ones (skipped where the processor has no AMX), bytes nearly so."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.engine.low_rank_stack import (
    PlainByteStack,
    PlainStack,
    StackKind,
    TiledByteStack,
    TiledStack,
    choose_stack,
)
from descant.engine.step_rows import AdapterRun, StepRows
from descant.model import SITE_MODULES, Site, fuse, has_amx
from tests.tiny import tiny_adapter, tiny_config

CONFIG = tiny_config(hidden_size=64, intermediate_size=128, head_dim=16)
TWINS = [(PlainStack, TiledStack), (PlainByteStack, TiledByteStack)]
CPU = torch.device("cpu")


@pytest.mark.skipif(not has_amx(CPU, torch.bfloat16), reason="no AMX on this processor")
@settings(max_examples=40, deadline=None)
@given(
    kinds=st.sampled_from(TWINS),
    site=st.sampled_from(sorted(SITE_MODULES)),
    rank=st.sampled_from([16, 32]),
    runs=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(1, 40)), min_size=1, max_size=4
    ),
    gap=st.integers(0, 3),
    seed=st.integers(0, 999),
)
def test_tiles_equal_batched_products(
    kinds: tuple[StackKind, StackKind],
    site: Site,
    rank: int,
    runs: list[tuple[int, int, int]],
    gap: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    like = torch.empty(0, dtype=torch.bfloat16)
    plain, tiled = (kind(5, CONFIG, site, rank, like) for kind in kinds)
    for slot in range(5):
        adapter = tiny_adapter(CONFIG, slot, rank=rank - slot)
        shrink, expand = (x.bfloat16() for x in fuse(adapter, 1, site, CONFIG, rank))
        plain.put(slot, shrink, expand)
        tiled.put(slot, shrink, expand)
    placed, row = [], gap
    for first_slot, num_slots, rows_each in runs:
        placed.append(AdapterRun(first_slot, num_slots, row, rows_each))
        row += num_slots * rows_each + gap
    modules = SITE_MODULES[site]
    outputs = sum(CONFIG.out_features(module) for module in modules)
    x = torch.randn(row + 1, CONFIG.in_features(modules[0]), generator=generator).bfloat16()
    y = torch.randn(row + 1, outputs, generator=generator).bfloat16()
    slow, fast = y.clone(), y.clone()
    plain.apply(x, slow, StepRows(placed))
    tiled.apply(x, fast, StepRows(placed))
    size = float((slow - y).abs().max())
    assert torch.allclose(fast.float(), slow.float(), rtol=2**-6, atol=0.01 * size)
    without = torch.ones(row + 1, dtype=torch.bool)
    for run in placed:
        without[run.rows] = False
    assert torch.equal(fast[without], y[without])


@pytest.mark.skipif(not has_amx(CPU, torch.bfloat16), reason="no AMX on this processor")
@pytest.mark.parametrize("kind", [TiledStack, TiledByteStack])
@pytest.mark.parametrize("rank", [16, 32])
def test_a_token_gets_the_same_bits_whatever_stands_beside_it(kind: StackKind, rank: int) -> None:
    stack = kind(2, CONFIG, "gate_up", rank, torch.empty(0, dtype=torch.bfloat16))
    for slot in range(2):
        matrices = fuse(tiny_adapter(CONFIG, slot, rank=rank), 1, "gate_up", CONFIG, rank)
        stack.put(slot, *(x.bfloat16() for x in matrices))
    x, y = torch.randn(20, 64).bfloat16(), torch.randn(20, 256).bfloat16()
    together, alone = y.clone(), y.clone()
    stack.apply(x, together, StepRows([AdapterRun(1, 1, 0, 20)]))
    for row in range(20):
        stack.apply(x, alone, StepRows([AdapterRun(1, 1, row, 1)]))
    assert torch.equal(together, alone)


def test_the_kind_follows_from_the_sizes_and_the_type() -> None:
    assert choose_stack(CONFIG, torch.float32, CPU) is PlainStack
    odd = tiny_config(hidden_size=72, intermediate_size=96, head_dim=18)
    assert choose_stack(odd, torch.bfloat16, CPU) is PlainStack
    assert choose_stack(odd, torch.bfloat16, CPU, "int8") is PlainByteStack


@pytest.mark.parametrize("site", sorted(SITE_MODULES))
def test_bytes_are_near_what_they_stand_for(site: Site) -> None:
    shrink, expand = fuse(tiny_adapter(CONFIG, 1, rank=8), 1, site, CONFIG, 8)
    like = torch.empty(0)
    exact, rounded = (kind(1, CONFIG, site, 8, like) for kind in (PlainStack, PlainByteStack))
    x, y = torch.randn(6, len(shrink)), torch.zeros(2, 6, expand.shape[1])
    rows = StepRows([AdapterRun(0, 1, 0, 6)])
    for stack, out in zip((exact, rounded), y, strict=True):
        stack.put(0, shrink, expand)
        stack.apply(x, out, rows)
    # Two roundings to 1/127 of the largest of some dozens of normal numbers.
    assert (y[1] - y[0]).norm() < 0.02 * y[0].norm()


@pytest.mark.parametrize("kind", [kind for pair in TWINS for kind in pair])
def test_bytes_are_counted_as_they_are(kind: StackKind) -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    for site in SITE_MODULES:
        stack = kind(3, CONFIG, site, kind.padded_rank(9), like)
        assert stack.num_bytes == 3 * kind.bytes_per_slot(CONFIG, site, 9, torch.bfloat16)
