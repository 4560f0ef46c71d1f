from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from descant.model import DenseCausal, SingleAdapter, load_model
from descant.model.config import RopeConfig
from descant.model.linear import BlockedWeight, PackedLinear, can_pack
from descant.model.transformer import rope_frequencies
from tests.model.reference import (
    FAMILIES,
    hf_logits,
    hf_model,
    our_logits,
    save_hf_model,
    token_ids,
)
from tests.tiny import tiny_adapter, tiny_model

needs_packing = pytest.mark.skipif(
    not can_pack(torch.empty(1, dtype=torch.bfloat16)), reason="no oneDNN bfloat16 on this CPU"
)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_in_float32(family: str, tmp_path: Path) -> None:
    reference = hf_model(family)
    loaded = load_model(save_hf_model(reference, tmp_path), torch.float32)
    expected = hf_logits(reference, token_ids())
    assert expected.std() > 1  # else nearly anything would pass
    assert (our_logits(loaded.model, token_ids()) - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_top_tokens_equal_transformers_in_bfloat16(family: str, tmp_path: Path) -> None:
    folder = save_hf_model(hf_model(family), tmp_path)
    loaded = load_model(folder, torch.bfloat16)
    # Loaded in bfloat16, not converted: converting would round the rotary frequencies too.
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    expected = hf_logits(reference.eval(), token_ids()).argmax(-1)
    ours = our_logits(loaded.model, token_ids()).argmax(-1)
    assert (ours == expected).float().mean() >= 0.99


def test_positions_decide_the_rotation_and_not_the_place_in_the_step() -> None:
    model, ids = tiny_model(), torch.arange(12)
    whole = model(ids, torch.arange(12), DenseCausal())
    two = torch.cat([ids, ids])
    both = model(two, torch.arange(12).repeat(2), DenseCausal([12, 12]))
    assert torch.allclose(both[:12], whole, atol=1e-5)
    assert torch.allclose(both[12:], whole, atol=1e-5)
    moved = model(ids, torch.arange(12) * 3, DenseCausal())
    assert not torch.allclose(moved, whole, atol=1e-3)


def test_chosen_rows_are_those_of_the_whole_vocabulary() -> None:
    for tied in (True, False):
        model, ids = tiny_model(tie_word_embeddings=tied), torch.arange(10)
        hidden = model(ids, torch.arange(10), DenseCausal())
        rows = torch.tensor([3, 60, 3])
        assert torch.allclose(model.logits(hidden, rows), model.logits(hidden)[:, rows], atol=1e-5)


def test_rows_in_bfloat16_are_multiplied_in_float32() -> None:
    model, ids = tiny_model(dtype=torch.bfloat16), torch.arange(10)
    hidden = model(ids, torch.arange(10), DenseCausal())
    exact = hidden.float() @ model.embedding.float().T
    assert torch.equal(model.logits(hidden, torch.arange(64)), exact)


def test_gradients_reach_adapters_and_not_the_base() -> None:
    model = tiny_model(dtype=torch.bfloat16)
    adapter = tiny_adapter(model.config, 0)
    for pair in adapter.weights.values():
        pair.a.requires_grad_(True)
        pair.b.requires_grad_(True)
    ids = torch.arange(10)
    active = torch.arange(10) >= 4
    hidden = model(
        ids, torch.arange(10), DenseCausal(), SingleAdapter(adapter, model.config, active)
    )
    model.logits(hidden, torch.tensor([1, 2])).log_softmax(-1)[-1, 0].backward()
    for place, pair in adapter.weights.items():
        assert pair.a.grad is not None and pair.a.grad.abs().sum() > 0, place
        assert pair.b.grad is not None and pair.b.grad.abs().sum() > 0, place
    assert all(weight.grad is None for weight in model.parameters())


@needs_packing
@pytest.mark.parametrize("num_tokens", [1, 7, 60, 256, 300])
@pytest.mark.parametrize("tied", [True, False])
def test_packed_weights_give_the_same_logits(num_tokens: int, tied: bool) -> None:
    plain = tiny_model(dtype=torch.bfloat16, tie_word_embeddings=tied)
    packed = tiny_model(dtype=torch.bfloat16, tie_word_embeddings=tied)
    assert packed.prepack()
    ids = token_ids(num_tokens) % 64
    got, expected = our_logits(packed, ids), our_logits(plain, ids)
    # The tiled product adds in another order: a rounding to bfloat16 here and there.
    assert torch.allclose(got, expected, atol=0.05 * float(expected.abs().max()))


@needs_packing
@pytest.mark.parametrize("num_tokens", [1, 7, 60])
def test_the_layout_for_processors_without_amx(num_tokens: int) -> None:
    x, weight = torch.randn(num_tokens, 96).bfloat16(), torch.randn(40, 96).bfloat16()
    expected = x.float() @ weight.float().T
    assert torch.allclose(BlockedWeight(weight)(x).float(), expected, rtol=2**-7, atol=0.05)


@needs_packing
def test_packing_with_a_bias_gives_the_same_logits(tmp_path: Path) -> None:
    loaded = load_model(save_hf_model(hf_model("qwen2"), tmp_path), torch.bfloat16)
    expected = our_logits(loaded.model, token_ids(50))
    loaded.model.prepack()
    got = our_logits(loaded.model, token_ids(50))
    assert torch.allclose(got, expected, atol=0.05 * float(expected.abs().max()))


@needs_packing
def test_a_packed_model_with_its_plain_weights_still_trains() -> None:
    gradients = []
    for pack in (False, True):
        model = tiny_model(dtype=torch.bfloat16)
        if pack:
            model.prepack()
        adapter = tiny_adapter(model.config, 0)
        pair = adapter.weights[0, "q_proj"]
        pair.a.requires_grad_(True)
        every = torch.ones(8, dtype=torch.bool)
        adapters = SingleAdapter(adapter, model.config, every)
        model(torch.arange(8), torch.arange(8), DenseCausal(), adapters).sum().backward()
        gradients.append(pair.a.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])


def test_packing_does_nothing_for_other_types() -> None:
    model = tiny_model(dtype=torch.float32)
    assert not model.prepack()
    assert not any(isinstance(module, PackedLinear) for module in model.modules())


def test_llama3_scaling_keeps_short_waves_and_stretches_long_ones() -> None:
    plain = rope_frequencies(RopeConfig(500_000.0), 128)
    scaled = rope_frequencies(RopeConfig(500_000.0, "llama3", 8.0, 1.0, 4.0, 8192), 128)
    assert torch.equal(scaled[:10], plain[:10])
    assert torch.allclose(scaled[-10:], plain[-10:] / 8)
    assert ((scaled <= plain) & (scaled >= plain / 8 * 0.999)).all()
