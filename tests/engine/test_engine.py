"""The engine equals the slow twin: each sequence alone, dense attention, one adapter at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.engine import (
    Engine,
    EngineConfig,
    FinishReason,
    GenerateRequest,
    SamplingParams,
    ScoreRequest,
    Tail,
)
from descant.model import (
    DenseCausal,
    LoraAdapter,
    MatmulKernel,
    SingleAdapter,
    Site,
    Transformer,
)
from descant.schema.errors import (
    ContextTooLong,
    InputError,
    InvalidConfig,
    InvalidIndicator,
    InvocationMissing,
    OutOfBlocks,
)
from tests.tiny import INVOCATION, tiny_adapter, tiny_dora, tiny_model

MODEL = tiny_model()
ADAPTERS = [tiny_adapter(MODEL.config, seed, rank=2 + seed % 3) for seed in range(5)]
PLAIN = [tiny_adapter(MODEL.config, seed, plain=True) for seed in range(2)]
READER = tiny_adapter(MODEL.config, 8, plain=True, rank=3)
BEHIND_READER = [
    replace(tiny_adapter(MODEL.config, seed), content_hash=f"sha256:read-{seed}", reader=READER)
    for seed in (6, 7)
]
EVERY = [None, *ADAPTERS, *PLAIN, *BEHIND_READER, tiny_dora(MODEL.config, 3)]
SINGLE = ((10,), (11,), (12,))
LONG = ((10, 20, 21), (10, 20, 22), (10, 23), (11,))


class InTurn:
    """An adapter where it is active, and its reader everywhere else."""

    def __init__(self, adapter: LoraAdapter, active: torch.Tensor):
        self.own = SingleAdapter(adapter, MODEL.config, active)
        self.reader = adapter.reader and SingleAdapter(adapter.reader, MODEL.config, ~active)

    def apply(self, layer: int, site: Site, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        y = self.own.apply(layer, site, x, y)
        return y if self.reader is None else self.reader.apply(layer, site, x, y)


def alone(model: Transformer, adapter: LoraAdapter | None, ids: list[int]) -> torch.Tensor:
    """Log-probabilities at every position, computed the slow way."""
    tokens, positions = torch.tensor(ids), torch.arange(len(ids))
    twin = None
    if adapter is not None:
        start = adapter.first_active(ids)
        assert start is not None
        twin = InTurn(adapter, positions >= start)
    with torch.inference_mode():
        hidden = model(tokens, positions, DenseCausal(), twin)
        return model.logits(hidden).log_softmax(-1)


def score_alone(adapter: LoraAdapter | None, prefix: list[int], tail: Tail) -> torch.Tensor:
    sums = []
    for label in tail.labels:
        ids = [*prefix, *tail.token_ids, *label]
        rows = alone(MODEL, adapter, ids)
        first = len(ids) - len(label) - 1
        sums.append(sum(rows[first + i, token] for i, token in enumerate(label)))
    return torch.stack(sums).log_softmax(0)


def generate_alone(adapter: LoraAdapter | None, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    start = adapter.first_active(ids) if adapter is not None else 0
    for _ in range(count):
        positions = torch.arange(len(ids))
        twin = adapter and InTurn(adapter, positions >= start)
        with torch.inference_mode():
            hidden = MODEL(torch.tensor(ids), positions, DenseCausal(), twin)
            ids.append(int(MODEL.logits(hidden[-1:])[0].argmax()))
    return ids[len(prompt) :]


def engine(**config: int) -> Engine:
    return Engine(MODEL, "base", EngineConfig(**{"block_tokens": 4, **config}))


prefixes = st.lists(st.integers(30, 63), min_size=1, max_size=23)
asked = st.lists(
    st.tuples(st.sampled_from(EVERY), st.sampled_from([SINGLE, LONG]), st.sampled_from([(), (7,)])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(
    calls=st.lists(st.tuples(prefixes, asked), min_size=1, max_size=3),
    step_tokens=st.sampled_from([3, 8, 64]),
)
def test_any_mix_of_scores_equals_one_at_a_time(calls: list, step_tokens: int) -> None:
    made = engine(max_step_tokens=step_tokens)
    requests = [
        ScoreRequest(
            tuple(prefix),
            tuple(Tail((*INVOCATION, *extra), labels, a) for a, labels, extra in tails),
        )
        for prefix, tails in calls
    ]
    results = made.score(requests)
    for (prefix, tails), request, result in zip(calls, requests, results, strict=True):
        for (adapter, _, _), tail, got in zip(
            tails, request.tails, result.log_probabilities, strict=True
        ):
            assert torch.allclose(got, score_alone(adapter, prefix, tail), atol=1e-4)
            assert got.exp().sum() == pytest.approx(1.0, abs=1e-5)
    made.blocks.check_integrity()
    assert made.blocks.num_held == 0


@settings(max_examples=12, deadline=None)
@given(
    prompts=st.lists(st.tuples(prefixes, st.sampled_from(EVERY)), min_size=1, max_size=5),
    step_tokens=st.sampled_from([3, 8, 64]),
)
def test_any_mix_of_generations_equals_one_at_a_time(prompts: list, step_tokens: int) -> None:
    made = engine(max_step_tokens=step_tokens)
    requests = [
        GenerateRequest((*prefix, *INVOCATION), SamplingParams(max_tokens=4), adapter)
        for prefix, adapter in prompts
    ]
    results = made.generate(requests)
    for (prefix, adapter), result in zip(prompts, results, strict=True):
        assert list(result.token_ids) == generate_alone(adapter, [*prefix, *INVOCATION], 4)
        assert result.finish_reason is FinishReason.LENGTH
    made.blocks.check_integrity()
    assert made.blocks.num_held == 0


def test_every_kernel_gives_the_same_scores() -> None:
    request = ScoreRequest(tuple(range(10, 50)), tuple(Tail(INVOCATION, LONG, a) for a in ADAPTERS))
    results = []
    for kernel in (MatmulKernel(), None):
        made = Engine(MODEL, "base", EngineConfig(max_step_tokens=16), kernel)
        results.append(torch.stack(made.score([request])[0].log_probabilities))
    assert torch.allclose(*results, atol=1e-5)


def test_one_reading_serves_every_invoked_adapter() -> None:
    tails = tuple(Tail(INVOCATION, SINGLE, a) for a in [None, *ADAPTERS])
    [result] = engine().score([ScoreRequest(tuple(range(20, 60)), tails)])
    assert result.num_read == 40 + 6 * 2
    assert result.num_shared == 5 * 40


def test_a_second_scoring_reads_only_the_unfinished_block() -> None:
    made = engine()
    tails = (Tail(INVOCATION, SINGLE, ADAPTERS[0]),)
    first = made.score([ScoreRequest(tuple(range(20, 62)), tails)])[0]
    second = made.score([ScoreRequest(tuple(range(20, 62)), tails)])[0]
    assert (first.num_read, second.num_read) == (44, 2 + 2)
    assert torch.allclose(first.log_probabilities[0], second.log_probabilities[0], atol=1e-5)


def test_a_salt_keeps_tenants_apart() -> None:
    made = engine()
    tails = (Tail(INVOCATION, SINGLE),)
    prefix = tuple(range(20, 60))
    made.score([ScoreRequest(prefix, tails, salt="one")])
    assert made.score([ScoreRequest(prefix, tails, salt="two")])[0].num_read == 42


def test_a_plain_adapter_never_reads_what_the_base_cached() -> None:
    made = engine()
    prefix = tuple(range(20, 60))
    made.score([ScoreRequest(prefix, (Tail(INVOCATION, SINGLE),))])
    tail = Tail(INVOCATION, SINGLE, PLAIN[0])
    [result] = made.score([ScoreRequest(prefix, (tail,))])
    assert result.num_read == 42
    expected = score_alone(PLAIN[0], list(prefix), tail)
    assert torch.allclose(result.log_probabilities[0], expected, atol=1e-4)


def test_new_weights_under_an_old_name_are_another_adapter() -> None:
    made = Engine(MODEL, "base", EngineConfig())
    old = tiny_adapter(MODEL.config, 1, plain=True, name="empathy")
    new = tiny_adapter(MODEL.config, 2, plain=True, name="empathy")
    prefix = tuple(range(20, 60))
    for adapter in (old, new):
        tail = Tail(INVOCATION, SINGLE, adapter)
        [result] = made.score([ScoreRequest(prefix, (tail,))])
        expected = score_alone(adapter, list(prefix), tail)
        assert torch.allclose(result.log_probabilities[0], expected, atol=1e-4)


def test_generation_reuses_the_base_prefix_up_to_the_invocation() -> None:
    made = engine()
    prefix = tuple(range(20, 60))
    made.score([ScoreRequest(prefix, (Tail(INVOCATION, SINGLE),))])
    request = GenerateRequest((*prefix, *INVOCATION), SamplingParams(max_tokens=3), ADAPTERS[0])
    [result] = made.generate([request])
    assert result.num_read == 2 + 2
    assert list(result.token_ids) == generate_alone(ADAPTERS[0], [*prefix, *INVOCATION], 3)


def test_a_stop_token_ends_a_generation_and_is_not_returned() -> None:
    prompt = [30, 31, 32]
    full = generate_alone(None, prompt, 6)
    stop = full[3]
    sampling = SamplingParams(max_tokens=6, stop_token_ids=frozenset({stop}))
    [result] = engine().generate([GenerateRequest(tuple(prompt), sampling)])
    assert list(result.token_ids) == full[: full.index(stop)]
    assert result.finish_reason is FinishReason.STOP


def test_sampling_repeats_with_its_seed() -> None:
    sampling = SamplingParams(max_tokens=8, temperature=1.5, top_k=20, top_p=0.9, seed=3)
    request = GenerateRequest((30, 31), sampling)
    once, again = engine().generate([request, request])
    other = engine().generate([replace(request, sampling=replace(sampling, seed=4))])[0]
    assert once.token_ids == again.token_ids != other.token_ids


def test_a_request_that_cannot_run_leaves_nothing_behind() -> None:
    made = engine()
    tail = Tail(INVOCATION, SINGLE)
    with pytest.raises(ContextTooLong, match="512"):
        made.score([ScoreRequest((30,) * 511, (tail,))])
    with pytest.raises(InputError, match="at least one token"):
        made.score([ScoreRequest((30,), (Tail((), SINGLE),))])
    with pytest.raises(InvocationMissing):
        made.score([ScoreRequest((30,), (Tail((7, 8), SINGLE, ADAPTERS[0]),))])
    with pytest.raises(InvocationMissing):
        made.generate([GenerateRequest((30, 31), SamplingParams(), ADAPTERS[0])])
    with pytest.raises(InvalidIndicator):
        made.score([ScoreRequest((30,), (Tail(INVOCATION, ((1,), (1, 2))),))])
    with pytest.raises(InputError):
        made.score([ScoreRequest((), (tail,))])
    made.blocks.check_integrity()
    assert made.scheduler.is_idle
    assert made.score([ScoreRequest((30,), (tail,))])[0].num_read == 3


def test_a_request_larger_than_the_cache_is_refused_with_the_setting_to_change() -> None:
    made = engine(kv_cache_bytes=4096)
    with pytest.raises(OutOfBlocks, match="kv_cache_bytes"):
        made.score([ScoreRequest(tuple(range(60)) * 2, (Tail(INVOCATION, SINGLE),))])
    made.blocks.check_integrity()
    assert made.blocks.num_held == 0


def test_a_full_cache_makes_requests_wait_their_turn() -> None:
    made = engine(kv_cache_bytes=16384)
    prefixes = [tuple(range(start, start + 20)) for start in range(20, 40)]
    tail = Tail(INVOCATION, SINGLE, ADAPTERS[1])
    results = made.score([ScoreRequest(prefix, (tail, tail)) for prefix in prefixes])
    for prefix, result in zip(prefixes, results, strict=True):
        expected = score_alone(ADAPTERS[1], list(prefix), tail)
        assert torch.allclose(result.log_probabilities[0], expected, atol=1e-4)
    made.blocks.check_integrity()


@pytest.mark.parametrize("field", ["kv_cache_bytes", "block_tokens", "max_step_tokens"])
def test_a_size_out_of_range_is_named(field: str) -> None:
    with pytest.raises(InvalidConfig, match=field):
        EngineConfig(**{field: 0})
