"""Grouped products equal one adapter at a time, for every mix of adapters."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from descant.engine.adapter_pool import AdapterPool, BatchedLora
from descant.engine.low_rank_stack import PlainStack
from descant.engine.step_rows import AdapterRun, StepRows, join_runs
from descant.model import SITE_MODULES, LoraAdapter, SingleAdapter
from tests.tiny import tiny_adapter, tiny_config, tiny_dora

CONFIG = tiny_config()
ADAPTERS = [
    *(tiny_adapter(CONFIG, seed, rank=1 + seed) for seed in range(4)),
    tiny_dora(CONFIG, 4, rank=5),
    tiny_adapter(CONFIG, 5, rank=6),
]
MIXES = {
    "identical": [2] * 12,
    "distinct": [0, 1, 2, 3, 4, 5],
    "uniform": [random.Random(1).randrange(6) for _ in range(24)],
    "skewed": [0] * 20 + [5, 4, 0, 0],
    "none": [None] * 8,
    "some": [None, 3, None, 3, 4, None],
}


def pool(most: int = 8) -> AdapterPool:
    """A pool with room for `most` adapters of the highest rank there is."""
    like = AdapterPool(CONFIG, 1, torch.float32, torch.device("cpu"))
    like.acquire(by_hash(ADAPTERS[5:]))
    made = AdapterPool(CONFIG, most * like.num_bytes, torch.float32, torch.device("cpu"))
    assert made.acquire(by_hash(ADAPTERS[:most]))
    return made


def by_hash(adapters: Sequence[LoraAdapter]) -> dict[str, LoraAdapter]:
    return {adapter.content_hash: adapter for adapter in adapters}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("site", SITE_MODULES)
def test_grouped_equals_one_at_a_time(mix: str, site: str) -> None:
    made, slots = pool(), MIXES[mix]
    width = CONFIG.in_features(SITE_MODULES[site][0])
    x = torch.randn(len(slots), width)
    y = torch.randn(len(slots), sum(CONFIG.out_features(m) for m in SITE_MODULES[site]))
    expected = y.clone()
    for index, adapter in enumerate(ADAPTERS):
        active = torch.tensor([slot == index for slot in slots])
        expected = SingleAdapter(adapter, CONFIG, active).apply(1, site, x, expected)
    runs = [
        AdapterRun(made.slot(ADAPTERS[slot].content_hash), 1, row, 1)
        for row, slot in enumerate(slots)
        if slot is not None
    ]
    got = BatchedLora(made, StepRows(join_runs(runs))).apply(1, site, x, y.clone())
    assert torch.allclose(got, expected, atol=1e-5)


def test_neighbouring_slots_become_one_product() -> None:
    runs = [AdapterRun(slot, 1, 3 * slot, 3) for slot in range(5)]
    assert join_runs(runs) == [AdapterRun(0, 5, 0, 3)]
    gap = [AdapterRun(0, 1, 0, 3), AdapterRun(2, 1, 3, 3), AdapterRun(2, 1, 6, 2)]
    assert join_runs(gap) == [AdapterRun(0, 1, 0, 3), AdapterRun(2, 1, 3, 5)]


def test_a_full_pool_waits_and_a_released_slot_is_used_again() -> None:
    made = pool(most=6)
    extra = tiny_adapter(CONFIG, 9)
    assert not made.acquire(by_hash([extra]))
    freed = made.slot(ADAPTERS[3].content_hash)
    made.release([ADAPTERS[3].content_hash])
    assert made.acquire(by_hash([extra]))
    assert made.slot(extra.content_hash) == freed
    assert ADAPTERS[3].content_hash not in made
    x, y = torch.randn(2, 32), torch.zeros(2, 32)
    expected = SingleAdapter(extra, CONFIG, torch.tensor([True, True])).apply(0, "o", x, y)
    got = BatchedLora(made, StepRows([AdapterRun(freed, 1, 0, 2)])).apply(0, "o", x, y.clone())
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_same_content_takes_one_slot() -> None:
    made = pool()
    before = made.num_bytes
    assert made.acquire(by_hash(ADAPTERS[:1]))
    assert len(made) == 6
    assert made.num_bytes == before
    made.release([ADAPTERS[0].content_hash])
    assert made.num_used == 6


def test_one_adapter_always_fits_and_wider_ones_make_every_slot_wider() -> None:
    made = AdapterPool(CONFIG, 1, torch.float32, torch.device("cpu"))
    for adapter in ADAPTERS:
        assert made.acquire(by_hash([adapter]))
        assert not made.acquire(by_hash([tiny_adapter(CONFIG, 9, rank=1)]))
        made.release([adapter.content_hash])
    assert len(made) == 1


class PoolMachine(RuleBasedStateMachine):
    """Whatever is acquired and released, the used ones are active, exact and within the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AdapterPool(CONFIG, 200_000, torch.float32, torch.device("cpu"))
        self.held: list[dict[str, LoraAdapter]] = []

    @rule(chosen=st.sets(st.integers(0, 5), min_size=1, max_size=4))
    def acquire(self, chosen: set[int]) -> None:
        wanted = by_hash([ADAPTERS[index] for index in sorted(chosen)])
        used = {key for held in self.held for key in held}
        acquired = self.pool.acquire(wanted)
        fits = len(used | wanted.keys()) <= self.pool.most_at_once(wanted.values())
        assert acquired == (fits or wanted.keys() <= used or set(wanted) <= set(self.pool_keys()))
        if acquired:
            self.held.append(wanted)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.held:
            index = data.draw(st.integers(0, len(self.held) - 1))
            self.pool.release(self.held.pop(index))

    def pool_keys(self) -> list[str]:
        return [adapter.content_hash for adapter in ADAPTERS if adapter.content_hash in self.pool]

    @invariant()
    def adds_up(self) -> None:
        self.pool.check_integrity()
        used = {key: adapter for held in self.held for key, adapter in held.items()}
        assert self.pool.num_used == len(used)
        for key, adapter in used.items():
            slot = self.pool.slot(key)
            stack = self.pool.stack(1, "down")
            assert isinstance(stack, PlainStack)
            pair = adapter.weights[1, "down_proj"]
            assert torch.equal(stack.shrink[slot][:, : pair.rank], pair.a.T)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
