from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant.model import SITE_MODULES, LoraAdapter, LoraPair, SingleAdapter, find_invocation, fuse
from tests.tiny import INVOCATION, tiny_adapter, tiny_config


@given(
    st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), min_size=1, max_size=3)
)
def test_the_last_occurrence_is_found(ids: list[int], invocation: list[int]) -> None:
    starts = [
        start for start in range(len(ids)) if ids[start : start + len(invocation)] == invocation
    ]
    assert find_invocation(ids, invocation) == (starts[-1] if starts else None)


def test_where_an_adapter_starts() -> None:
    config = tiny_config()
    ids = [1, *INVOCATION, 2, *INVOCATION, 3]
    assert tiny_adapter(config, 0).first_active(ids) == 4
    assert tiny_adapter(config, 0).first_active([1, 2]) is None
    assert tiny_adapter(config, 0, plain=True).first_active(ids) == 0
    late = LoraAdapter(**{**tiny_adapter(config, 0).__dict__, "activation_delay": 1})
    assert late.first_active(ids) == 5


@pytest.mark.parametrize("site", list(SITE_MODULES))
@pytest.mark.parametrize("rank", [4, 7])
def test_fused_matrices_give_what_the_modules_give_one_by_one(site: str, rank: int) -> None:
    config = tiny_config()
    adapter = tiny_adapter(config, 3)
    modules = SITE_MODULES[site]  # type: ignore[index]
    x = torch.randn(5, config.in_features(modules[0]))
    y = torch.randn(5, sum(config.out_features(module) for module in modules))
    every = torch.ones(5, dtype=torch.bool)
    expected = SingleAdapter(adapter, config, every).apply(1, site, x, y)  # type: ignore[arg-type]
    shrink, expand = fuse(adapter, 1, site, config, rank)  # type: ignore[arg-type]
    assert shrink.shape[1] == expand.shape[0] == rank * len(modules)
    assert torch.allclose(y + x @ shrink @ expand, expected, atol=1e-4)


def test_a_module_the_adapter_does_not_have_is_zero() -> None:
    config = tiny_config()
    pair = LoraPair(torch.ones(2, 32), torch.ones(16, 2), 1.0)
    whole = tiny_adapter(config, 0)
    adapter = LoraAdapter(**{**whole.__dict__, "weights": {(0, "v_proj"): pair}})
    shrink, expand = fuse(adapter, 0, "qkv", config, 2)
    assert shrink[:, :4].count_nonzero() == 0 and shrink[:, 4:].count_nonzero() == 64
    assert expand[:, :48].count_nonzero() == 0 and expand[4:, 48:].count_nonzero() == 32
    assert all(part.count_nonzero() == 0 for part in fuse(adapter, 1, "qkv", config, 2))


def test_tokens_before_the_start_are_the_base() -> None:
    config = tiny_config()
    active = torch.tensor([False, False, True])
    x, y = torch.randn(3, 32), torch.randn(3, 64)
    out = SingleAdapter(tiny_adapter(config, 0), config, active).apply(0, "qkv", x, y)
    assert torch.equal(out[:2], y[:2])
    assert not torch.allclose(out[2], y[2])
