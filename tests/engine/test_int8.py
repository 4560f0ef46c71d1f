"""An engine of int8 weights, keys and values equals the slow twin that rounds the same numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.engine import (
    Engine,
    EngineConfig,
    GenerateRequest,
    SamplingParams,
    ScoreRequest,
    Tail,
    bytes_per_slot,
)
from descant.engine.kv_cache import KvCache, block_key, identity, root_key
from descant.model import (
    DenseCausal,
    LoraAdapter,
    MatmulKernel,
    SingleAdapter,
    Transformer,
    choose_kernel,
)
from descant.schema import KvDtype, Quantization
from descant.schema.errors import InvalidConfig
from tests.tiny import INVOCATION, tiny_adapter, tiny_model

FORMATS: list[tuple[Quantization | None, KvDtype]] = [
    (quantization, kv_dtype)
    for quantization in (None, "int8", "w8a8")
    for kv_dtype in ("model", "int8")
]
LABELS = ((10, 20, 21), (10, 23), (11,))

# Sums of another order differ in their last bits, and may so fall on the other side of a rounding:
# then one key moves by 1/127 of its largest part.
CLOSE = 0.05


def quantized(kind: Quantization | None) -> Transformer:
    model = tiny_model()
    model.prepare(kind)
    return model


MODELS = {kind: quantized(kind) for kind in (None, "int8", "w8a8")}
ADAPTERS = [tiny_adapter(MODELS[None].config, seed, rank=2 + seed) for seed in range(3)]
PLAIN = tiny_adapter(MODELS[None].config, 7, plain=True)
EVERY = [None, *ADAPTERS, PLAIN]


class RoundedCausal(DenseCausal):
    """Dense attention over keys and values of int8 where the engine would keep them so."""

    def __init__(self, kv_dtype: KvDtype):
        super().__init__()
        self.kv_dtype = kv_dtype

    def __call__(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        if self.kv_dtype == "int8":
            k, v = rounded(k), rounded(v)
        return super().__call__(layer, q, k, v)


def rounded(vectors: torch.Tensor) -> torch.Tensor:
    step = vectors.abs().amax(-1, keepdim=True) / 127
    return (vectors / step).round() * step


def alone(
    model: Transformer, kv_dtype: KvDtype, adapter: LoraAdapter | None, ids: list[int]
) -> torch.Tensor:
    """Log-probabilities at every position of one sequence, without a cache."""
    positions = torch.arange(len(ids))
    twin = None
    if adapter is not None:
        # The invocation is written once: what was generated cannot move it.
        start = 0 if adapter.activation == "start" else ids.index(INVOCATION[0])
        twin = SingleAdapter(adapter, model.config, positions >= start)
    with torch.inference_mode():
        hidden = model(torch.tensor(ids), positions, RoundedCausal(kv_dtype), twin)
        return model.logits(hidden).log_softmax(-1)


def score_alone(
    model: Transformer, kv_dtype: KvDtype, prefix: list[int], tail: Tail
) -> torch.Tensor:
    sums = []
    for label in tail.labels:
        ids = [*prefix, *tail.token_ids, *label]
        rows = alone(model, kv_dtype, tail.adapter, ids)
        first = len(ids) - len(label) - 1
        sums.append(sum(rows[first + i, token] for i, token in enumerate(label)))
    return torch.stack(sums).log_softmax(0)


def engine(model: Transformer, kv_dtype: KvDtype, step_tokens: int) -> Engine:
    config = EngineConfig(
        kv_cache_bytes=1 << 19, kv_dtype=kv_dtype, block_tokens=4, max_step_tokens=step_tokens
    )
    return Engine(model, "base", config)


prefixes = st.lists(st.integers(30, 63), min_size=1, max_size=23)


@settings(max_examples=25, deadline=None)
@given(
    formats=st.sampled_from(FORMATS),
    calls=st.lists(
        st.tuples(prefixes, st.lists(st.sampled_from(EVERY), min_size=1, max_size=5)),
        min_size=1,
        max_size=3,
    ),
    step_tokens=st.sampled_from([3, 8, 64]),
)
def test_forks_and_adapters_equal_one_at_a_time(
    formats: tuple[Quantization | None, KvDtype], calls: list, step_tokens: int
) -> None:
    quantization, kv_dtype = formats
    model = MODELS[quantization]
    made = engine(model, kv_dtype, step_tokens)
    requests = [
        ScoreRequest(tuple(prefix), tuple(Tail(INVOCATION, LABELS, a) for a in adapters))
        for prefix, adapters in calls
    ]
    for request, result in zip(requests, made.score(requests), strict=True):
        for tail, got in zip(request.tails, result.log_probabilities, strict=True):
            # Labels' rows are exact in the engine and rounded in the twin's whole vocabulary.
            expected = score_alone(model, kv_dtype, list(request.prefix_ids), tail)
            assert (got.exp() - expected.exp()).abs().max() < CLOSE
    made.blocks.check_integrity()
    assert made.blocks.num_held == 0


@settings(max_examples=15, deadline=None)
@given(
    formats=st.sampled_from(FORMATS),
    prompts=st.lists(st.tuples(prefixes, st.sampled_from(EVERY)), min_size=1, max_size=4),
    step_tokens=st.sampled_from([3, 8, 64]),
)
def test_generations_take_the_token_that_one_at_a_time_finds_best(
    formats: tuple[Quantization | None, KvDtype], prompts: list, step_tokens: int
) -> None:
    quantization, kv_dtype = formats
    model = MODELS[quantization]
    made = engine(model, kv_dtype, step_tokens)
    requests = [
        GenerateRequest((*prefix, *INVOCATION), SamplingParams(max_tokens=4), adapter)
        for prefix, adapter in prompts
    ]
    for request, result in zip(requests, made.generate(requests), strict=True):
        ids = [*request.prompt_ids, *result.token_ids]
        rows = alone(model, kv_dtype, request.adapter, ids)[len(request.prompt_ids) - 1 : -1]
        chosen = rows.gather(1, torch.tensor(result.token_ids)[:, None])[:, 0]
        assert (rows.amax(-1) - chosen).max() < CLOSE


def test_how_a_prompt_is_cut_does_not_show() -> None:
    """Keys of this step are rounded as those of the cache are."""
    prompt = tuple(range(10, 60))
    tail = Tail(INVOCATION, LABELS)
    results = []
    for step_tokens in (5, 64):
        [result] = engine(MODELS[None], "int8", step_tokens).score([ScoreRequest(prompt, (tail,))])
        results.append(result.log_probabilities[0].exp())
    # Unrounded keys of the step would make this 10 times as much.
    assert (results[0] - results[1]).abs().max() < 2e-3


@settings(max_examples=30, deadline=None)
@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    kv_dtype=st.sampled_from(["model", "int8"]),
    seed=st.integers(0, 99),
)
def test_a_write_returns_what_a_read_will_give(
    dtype: torch.dtype, kv_dtype: KvDtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    cache = KvCache(1, 2, 8, 12, dtype, torch.device("cpu"), kv_dtype)
    sizes = torch.tensor([0.0, 1e-3, 1.0, 30.0])[:, None, None]
    k, v = ((torch.randn(4, 2, 8, generator=generator) * sizes).to(dtype) for _ in range(2))
    returned = cache.write(0, torch.tensor([3, 4, 5, 9]), k, v)
    scattered = cache.read(0, torch.tensor([[3, 4], [5, 9]]))
    neighbours = cache.read(0, slice(3, 6))
    *pools, places = cache.pool(0, torch.tensor([[9, 4], [3, 3]]))
    order = torch.tensor([[3, 1], [0, 0]])
    for stored, expected, apart, together, pool in zip(
        returned, (k, v), scattered, neighbours, pools, strict=True
    ):
        assert torch.equal(pool[:, places].permute(1, 2, 0, 3), stored[order])
        assert torch.equal(apart.transpose(1, 2).reshape(4, 2, 8), stored)
        assert torch.equal(together[0].transpose(0, 1), stored[:3])
        step = expected.abs().amax(-1, keepdim=True).float() / 127
        # A scale is a normal number: in float16 that is the 2^14th part of 1.
        step.clamp_min_(torch.finfo(dtype).tiny)
        rounding = 4 * torch.finfo(dtype).eps * expected.abs().float()
        assert (stored.float() - expected.float()).abs().le(0.51 * step + rounding).all()


def test_single_tokens_see_the_rounded_keys_under_every_kernel() -> None:
    generator = torch.Generator().manual_seed(3)
    cache = KvCache(1, 2, 64, 40, torch.bfloat16, torch.device("cpu"), "int8")
    k, v = (torch.randn(40, 2, 64, generator=generator).bfloat16() for _ in range(2))
    k, v = cache.write(0, slice(0, 40), k, v)
    q = torch.randn(2, 4, 64, generator=generator).bfloat16()
    slots, lengths = torch.tensor([[7, 30, 2], [5, 11, 0]]), torch.tensor([3, 2])
    chosen = choose_kernel(torch.device("cpu"), torch.bfloat16)
    for kernel in (MatmulKernel(), chosen):
        out = kernel.decode(q, *cache.pool(0, slots), lengths)
        for row, seen in enumerate(([7, 30, 2], [5, 11])):
            keys, values = (x[seen].transpose(0, 1)[None].float() for x in (k, v))
            rows = q[row].float().view(1, 2, 2, 64)
            expected = MatmulKernel().dense(rows, keys, values).out.view(4, 64)
            # Two roundings to bfloat16 of numbers around 2.
            assert (out[row].float() - expected).abs().max() < 0.02


def test_a_slot_takes_half_and_a_scale_and_the_cache_holds_twice_as_many() -> None:
    assert bytes_per_slot(30, 3, 64, torch.bfloat16) == 2 * 30 * 3 * 128
    assert bytes_per_slot(30, 3, 64, torch.bfloat16, "int8") == 2 * 30 * 3 * 66
    counts = []
    for kv_dtype in ("model", "int8"):
        config = EngineConfig(kv_cache_bytes=1 << 20, kv_dtype=kv_dtype)
        counts.append(Engine(tiny_model(head_dim=64), "base", config).blocks.num_blocks)
    # From float32 in the tiny model: 256 bytes become 64 and a scale of 4.
    assert counts[1] == pytest.approx(counts[0] * 256 / 68, rel=0.01)


def test_the_tensors_take_what_a_slot_is_said_to_take() -> None:
    for kv_dtype in ("model", "int8"):
        cache = KvCache(2, 3, 16, 10, torch.bfloat16, torch.device("cpu"), kv_dtype)
        tensors = [
            value
            for vectors in (*cache._keys, *cache._values)
            for value in vars(vectors).values()
            if isinstance(value, torch.Tensor)
        ]
        said = 10 * bytes_per_slot(2, 3, 16, torch.bfloat16, kv_dtype)
        assert sum(tensor.nbytes for tensor in tensors) == said


def test_a_block_of_other_formats_is_another_block() -> None:
    keys = {
        block_key(root_key(identity("base", *formats), ""), [1, 2], [None, None])
        for formats in FORMATS
    }
    assert len(keys) == len(FORMATS)
    assert identity("base", None, "model") == "base"
    for quantization, kv_dtype in FORMATS:
        made = engine(MODELS[quantization], kv_dtype, 64)
        assert made.scheduler.base_hash == identity("base", quantization, kv_dtype)


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(InvalidConfig, match="fp8.*model, int8") as caught:
        EngineConfig(kv_dtype="fp8")  # type: ignore[arg-type]
    assert caught.value.field == "kv_dtype"
