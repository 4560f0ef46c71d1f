"""Grouped products equal one adapter at a time, for every mix of adapters."""

from __future__ import annotations

import random

import pytest
import torch

from descant.engine.adapter_pool import AdapterPool, AdapterRun, BatchedLora, join_runs
from descant.model import SITE_MODULES, SingleAdapter
from descant.schema.errors import OutOfSlots
from tests.tiny import tiny_adapter, tiny_config

CONFIG = tiny_config()
ADAPTERS = [tiny_adapter(CONFIG, seed, rank=1 + seed) for seed in range(6)]
MIXES = {
    "identical": [2] * 12,
    "distinct": [0, 1, 2, 3, 4, 5],
    "uniform": [random.Random(1).randrange(6) for _ in range(24)],
    "skewed": [0] * 20 + [5, 4, 0, 0],
    "none": [None] * 8,
    "some": [None, 3, None, 3, 4, None],
}


def pool(max_adapters: int = 8) -> AdapterPool:
    made = AdapterPool(CONFIG, max_adapters, torch.float32, torch.device("cpu"))
    for adapter in ADAPTERS:
        made.load(adapter)
    return made


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
    got = BatchedLora(made, join_runs(runs)).apply(1, site, x, y.clone())
    assert torch.allclose(got, expected, atol=1e-5)


def test_neighbouring_slots_become_one_product() -> None:
    runs = [AdapterRun(slot, 1, 3 * slot, 3) for slot in range(5)]
    assert join_runs(runs) == [AdapterRun(0, 5, 0, 3)]
    gap = [AdapterRun(0, 1, 0, 3), AdapterRun(2, 1, 3, 3), AdapterRun(2, 1, 6, 2)]
    assert join_runs(gap) == [AdapterRun(0, 1, 0, 3), AdapterRun(2, 1, 3, 5)]


def test_a_full_pool_says_which_setting_to_raise_and_a_freed_slot_is_used_again() -> None:
    made = pool(max_adapters=6)
    extra = tiny_adapter(CONFIG, 9)
    with pytest.raises(OutOfSlots, match="max_adapters"):
        made.load(extra)
    freed = made.slot(ADAPTERS[3].content_hash)
    made.unload(ADAPTERS[3].content_hash)
    made.load(extra)
    assert made.slot(extra.content_hash) == freed
    x, y = torch.randn(2, 32), torch.zeros(2, 32)
    expected = SingleAdapter(extra, CONFIG, torch.tensor([True, True])).apply(0, "o", x, y)
    got = BatchedLora(made, [AdapterRun(freed, 1, 0, 2)]).apply(0, "o", x, y.clone())
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_same_content_is_loaded_once() -> None:
    made = pool()
    before = made.num_bytes
    made.load(ADAPTERS[0])
    assert len(made) == 6
    assert made.num_bytes == before
