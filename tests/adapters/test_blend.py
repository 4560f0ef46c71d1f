"""A blend equals the sum of its parts' updates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.adapters.blend import Blend, Part
from descant.model import SITE_MODULES, LoraAdapter, LoraPair, SingleAdapter, Site, content_hash
from descant.schema.errors import InvalidAdapter
from tests.adapters.folders import CONFIG, adapter
from tests.tiny import tiny_dora

WEIGHTS = st.floats(-4, 4, allow_subnormal=False)


def part(seed: int, rank: int, weight: float, left_out: int) -> Part:
    """An adapter of its own rank and scalings, without some of its modules."""
    made = adapter(seed, rank=rank)
    kept = {
        place: LoraPair(pair.a, pair.b, 0.25 + index)
        for index, (place, pair) in enumerate(made.weights.items())
        if index % 5 != left_out
    }
    identity = content_hash(kept, made.invocation_tokens)
    return Part(replace(made, content_hash=identity, weights=kept), weight)


PARTS = st.tuples(st.integers(0, 9), st.integers(1, 5), WEIGHTS, st.integers(0, 5))


def update(adapter: LoraAdapter, layer: int, site: Site, x: torch.Tensor) -> torch.Tensor:
    width = sum(CONFIG.out_features(module) for module in SITE_MODULES[site])
    active = torch.ones(len(x), dtype=torch.bool)
    return SingleAdapter(adapter, CONFIG, active).apply(
        layer, site, x, torch.zeros(len(x), width, dtype=x.dtype)
    )


@given(st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_a_blend_is_the_weighted_sum(drawn: list[tuple[int, int, float, int]]) -> None:
    parts = [part(*values) for values in drawn]
    made = Blend(parts).adapter("blend")
    for layer in range(CONFIG.num_layers):
        for site, modules in SITE_MODULES.items():
            x = torch.randn(3, CONFIG.in_features(modules[0]))
            expected = sum(p.weight * update(p.adapter, layer, site, x) for p in parts)
            got = update(made, layer, site, x)
            torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


@given(st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_parts_changes_not_one_bit(order: list[int]) -> None:
    parts = [part(seed, 1 + seed, 0.3 * seed, seed) for seed in range(4)]
    one = Blend(parts).adapter("one")
    other = Blend([parts[index] for index in order]).adapter("other")
    assert one.content_hash == other.content_hash
    for place, pair in one.weights.items():
        assert torch.equal(pair.a, other.weights[place].a)
        assert torch.equal(pair.b, other.weights[place].b)


def test_the_hash_tells_parts_and_weights_apart() -> None:
    first, second = adapter(1), adapter(2)
    recipes = [
        [Part(first, 0.5)],
        [Part(first, 0.5), Part(second, 0.5)],
        [Part(first, 0.5), Part(second, 0.25)],
        [Part(first, 0.25), Part(second, 0.5)],
        [Part(first, -0.5), Part(second, 0.5)],
    ]
    hashes = {Blend(parts).content_hash for parts in recipes}
    assert len(hashes) == len(recipes)
    assert first.content_hash not in hashes
    renamed = [Part(replace(first, name="other"), 0.5)]
    assert Blend(renamed).content_hash == Blend(recipes[0]).content_hash


def test_the_ranks_add_up_and_the_rule_stays() -> None:
    made = Blend([Part(adapter(1, rank=2), 1.0), Part(adapter(2, rank=3), 1.0)]).adapter("both")
    assert made.name == "both"
    assert made.rank == 5
    assert made.activation == "invocation"
    assert made.invocation_tokens == adapter(1).invocation_tokens


@pytest.mark.parametrize(
    "other",
    [
        adapter(2, plain=True),
        replace(adapter(2), invocation_tokens=(5, 7)),
        replace(adapter(2), activation_delay=1),
    ],
    ids=["plain", "other invocation", "later"],
)
def test_adapters_that_act_from_different_tokens_are_not_mixed(other: LoraAdapter) -> None:
    with pytest.raises(InvalidAdapter, match="different tokens"):
        Blend([Part(adapter(1), 0.5), Part(other, 0.5)])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_is_a_number(weight: float) -> None:
    with pytest.raises(InvalidAdapter) as caught:
        Blend([Part(adapter(1), weight)])
    assert caught.value.field == "weights"


def test_a_sum_that_overflows_and_an_empty_one_are_refused() -> None:
    with pytest.raises(InvalidAdapter, match="infinite"):
        Blend([Part(adapter(1), 1e300)]).adapter("blend")
    with pytest.raises(InvalidAdapter, match="at least one"):
        Blend([])


def test_adapters_that_scale_outputs_are_not_blended() -> None:
    with pytest.raises(InvalidAdapter, match=r"dora-1.*without magnitudes"):
        Blend([Part(tiny_dora(CONFIG, 1), 0.5)])
