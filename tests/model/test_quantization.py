"""Every int8 product equals its plain twin, and a quantized model stays close to the one it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import descant.model.transformer as transformer
from descant.model import Linear, SingleAdapter, Transformer, load_model
from descant.model.quantization import (
    ByteProduct,
    Int8Linear,
    PlainByteProduct,
    PlainProduct,
    TiledByteProduct,
    TiledTwoByteProduct,
    TwoByteProduct,
    has_byte_products,
    has_byte_tiles,
    quantize,
    quantize_channels,
    to_byte,
    to_two_bytes,
)
from descant.schema import Quantization
from tests.model.reference import hf_model, our_logits, save_hf_model, token_ids
from tests.tiny import tiny_adapter, tiny_model

CPU = torch.device("cpu")
KINDS: tuple[Quantization, ...] = ("int8", "w8a8")
needs_byte_products = pytest.mark.skipif(
    not has_byte_products(CPU), reason="no product of bytes on this CPU"
)

needs_byte_tiles = pytest.mark.skipif(
    not has_byte_tiles(torch.empty(32, 64, dtype=torch.bfloat16)), reason="no AMX on this processor"
)

# Relative root-mean-square errors of the tiny models' logits, whose 32 or 64 channels average out
# less than a real model's hundreds. Rounding to bfloat16 alone is 0.02 off float32.
CLOSE = {"int8": 0.05, "w8a8": 0.08}


def random(*shape: int, seed: int) -> torch.Tensor:
    """Rows of very different sizes, one of them of zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * torch.logspace(-3, 3, shape[0])[:, None]
    x[shape[0] // 2] = 0
    return x


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


shapes = st.tuples(st.integers(2, 40), st.integers(1, 70), st.integers(1, 90))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 20), width=st.integers(1, 90), seed=st.integers(0, 99))
def test_digits_stand_for_the_activations(rows: int, width: int, seed: int) -> None:
    x = random(rows, width, seed=seed)
    digit, scale = to_byte(x)
    assert ((digit.float() - 128) * scale - x).abs().le(scale * 0.501).all()
    high, low, scale = to_two_bytes(x)
    whole = 256 * (high.double() - 128) + (low.double() - 128)
    assert (whole * scale - x).abs().le(scale * 0.51).all()
    weight = quantize_channels(x)
    assert weight.values.abs().max() <= 127
    error = weight.values * weight.scale[:, None] - x
    assert error.abs().le(weight.scale[:, None] * 0.501).all()


def test_a_large_weight_is_quantized_in_parts() -> None:
    weight = random(5000, 3, seed=1)
    whole = quantize_channels(weight)
    part = quantize_channels(weight[4990:])
    assert torch.equal(whole.values[4990:], part.values)
    assert torch.equal(whole.scale[4990:], part.scale)


@needs_byte_products
@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 99))
def test_products_of_bytes_equal_their_plain_twins(shape: tuple[int, ...], seed: int) -> None:
    tokens, outputs, inputs = shape
    x, weight = (
        random(tokens, inputs, seed=seed),
        quantize_channels(random(outputs, inputs, seed=9)),
    )
    sizes = x.abs() @ (weight.values * weight.scale[:, None]).abs().T
    assert (ByteProduct(weight)(x) - PlainByteProduct(weight)(x)).abs().le(1e-5 * sizes).all()
    # The twin does not round its activations: at most half a step of 1/32512 each.
    rounding = x.abs().amax(-1, keepdim=True) / 32512 * 0.51
    bound = 1e-5 * sizes + rounding * (weight.values * weight.scale[:, None]).abs().sum(-1)
    assert (TwoByteProduct(weight)(x) - PlainProduct(weight)(x)).abs().le(bound).all()


@needs_byte_tiles
@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(2, 90),
    pairs=st.integers(1, 5),
    depth=st.sampled_from([1, 2, 9]),
    seed=st.integers(0, 99),
)
def test_tiles_of_bytes_equal_their_plain_twins(
    tokens: int, pairs: int, depth: int, seed: int
) -> None:
    wide = random(tokens, 64 * depth + 8, seed=seed).bfloat16()
    x = wide[:, : 64 * depth]
    weight = quantize_channels(random(32 * pairs, 64 * depth, seed=9))
    for product, largest in ((TiledByteProduct, 127), (TiledTwoByteProduct, 127 * 256)):
        scale = (x.float().abs().amax(-1, keepdim=True) / largest).clamp_min(2**-126)
        digits = (x.float() * (1 / scale)).round()
        exact = digits.double() @ weight.values.double().T * (scale * weight.scale).double()
        sizes = (scale * digits).abs().double() @ weight.values.abs().double().T * weight.scale
        got = product(weight)(x).double()
        # Whole sums: what is left is float32's rounding, and bfloat16's at the end.
        assert (got - exact).abs().le(2**-8 * exact.abs() + 1e-6 * sizes).all()


@needs_byte_tiles
@pytest.mark.parametrize("product", [TiledByteProduct, TiledTwoByteProduct])
def test_tiles_of_bytes_are_close_to_the_plain_weight(product: type) -> None:
    x, weight = random(40, 128, seed=1).bfloat16(), random(64, 128, seed=2)
    got = product(quantize_channels(weight))(x)
    assert relative_error(got.float(), x.float() @ weight.T) < 0.015


@needs_byte_tiles
@pytest.mark.parametrize("product", [TiledByteProduct, TiledTwoByteProduct])
def test_what_is_not_a_number_stays_so(product: type) -> None:
    x = torch.ones(3, 64, dtype=torch.bfloat16)
    x[1, 5] = torch.nan
    y = product(quantize_channels(random(32, 64, seed=2)))(x)
    assert torch.isnan(y[1]).all()
    assert torch.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize(
    ("product", "inputs"),
    [
        pytest.param(ByteProduct, 40, marks=needs_byte_products),
        pytest.param(TwoByteProduct, 40, marks=needs_byte_products),
        pytest.param(TiledByteProduct, 64, marks=needs_byte_tiles),
        pytest.param(TiledTwoByteProduct, 64, marks=needs_byte_tiles),
    ],
)
def test_an_output_does_not_depend_on_the_rest_of_the_step(product: type, inputs: int) -> None:
    multiply = product(quantize_channels(random(32, inputs, seed=2)))
    x = random(1200, inputs, seed=3).bfloat16()
    whole = multiply(x)
    for rows in (slice(0, 1), slice(511, 514), slice(1000, 1200)):
        assert torch.equal(multiply(x[rows]), whole[rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_bytes", [True, False])
def test_a_quantized_layer_is_close_to_the_one_it_was(
    kind: Quantization, dtype: torch.dtype, has_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_bytes:
        without_byte_products(monkeypatch)
    generator = torch.Generator().manual_seed(4)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    linear = Linear(weight.to(dtype), bias.to(dtype), [64, 32])
    x = torch.randn(7, 64, generator=generator).to(dtype)
    quantized = quantize(linear, kind)
    assert quantized(x).dtype == dtype
    assert relative_error(quantized(x).float(), linear(x).float()) < 0.015
    for got, expected in zip(quantized.parts(x), linear.parts(x), strict=True):
        assert relative_error(got.float(), expected.float()) < 0.015


def without_byte_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a processor that has none."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert not has_byte_products(CPU)


def quantized_tiny(kind: Quantization, **changes: object) -> Transformer:
    model = tiny_model(dtype=torch.bfloat16, **changes)
    model.prepare(kind)
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_stay_close_to_bfloat16(
    kind: Quantization, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = token_ids(300) % 64
    expected = our_logits(tiny_model(dtype=torch.bfloat16, tie_word_embeddings=tied), ids)
    got = our_logits(quantized_tiny(kind, tie_word_embeddings=tied), ids)
    assert 0 < relative_error(got, expected) < CLOSE[kind]
    without_byte_products(monkeypatch)
    anywhere = our_logits(quantized_tiny(kind, tie_word_embeddings=tied), ids)
    assert relative_error(anywhere, expected) < CLOSE[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_biases_stays_close(kind: Quantization, tmp_path: Path) -> None:
    loaded = load_model(save_hf_model(hf_model("qwen2"), tmp_path), torch.bfloat16)
    expected = our_logits(loaded.model, token_ids(50))
    loaded.model.quantize(kind)
    assert relative_error(our_logits(loaded.model, token_ids(50)), expected) < CLOSE[kind]


def test_the_vocabulary_is_quantized_and_its_single_rows_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds: list[Quantization] = []

    def watched(linear: Linear, kind: Quantization) -> Int8Linear:
        kinds.append(kind)
        return quantize(linear, kind)

    monkeypatch.setattr(transformer, "quantize", watched)
    model = quantized_tiny("w8a8")
    assert kinds == ["w8a8"] * 8 + ["int8"]
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = hidden.float() @ model.embedding.float().T
    assert torch.equal(model.logits(hidden, torch.arange(64)), exact)
    assert 0 < relative_error(model.logits(hidden), exact) < 0.015


def test_only_tables_and_norms_keep_their_precision() -> None:
    model = quantized_tiny("int8")
    assert {name for name, _ in model.named_parameters() if "norm" not in name} == {"embedding"}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_stay_as_they_are_on_top(kind: Quantization) -> None:
    ids, every = torch.arange(20), torch.arange(20) >= 5
    logits = []
    for model in (tiny_model(dtype=torch.bfloat16), quantized_tiny(kind)):
        adapters = SingleAdapter(tiny_adapter(model.config, 1), model.config, every)
        logits.append(our_logits(model, ids, adapters))
    assert relative_error(logits[1], logits[0]) < 2 * CLOSE[kind]


def test_a_quantized_layer_never_drops_a_gradient_silently() -> None:
    layer = quantize(Linear(torch.randn(4, 4)), "int8")
    with pytest.raises(AssertionError, match="cannot train"):
        layer(torch.zeros(2, 4, requires_grad=True))
    with pytest.raises(AssertionError, match="is quantized"):
        quantized_tiny("int8").quantize("int8")


def test_a_step_without_tokens_gives_none() -> None:
    model = quantized_tiny("w8a8")
    assert model.logits(torch.zeros(0, 32, dtype=torch.bfloat16)).shape == (0, 64)
