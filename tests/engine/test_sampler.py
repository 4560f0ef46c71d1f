"""Every sampling field does what its formula says, and a constraint is never broken."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from descant.engine import Engine, EngineConfig, FinishReason, GenerateRequest, SamplingParams
from descant.engine.sampler import Choice, TokenChooser, choose_all
from descant.schema.errors import InputError, InvalidConfig
from tests.engine.test_engine import MODEL

VOCABULARY = 600
"""More than the candidates that are looked at first, so that both ways are taken."""


class Fixed(random.Random):
    """Draws one given number."""

    def __init__(self, point: float) -> None:
        super().__init__()
        self.point = point

    def random(self) -> float:
        return self.point


def logits_of(seed: int, spread: float) -> torch.Tensor:
    return spread * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed))


def drawn_slowly(logits: torch.Tensor, params: SamplingParams, point: float) -> set[int]:
    """The token at `point`, and its neighbours where rounding may decide between them."""
    probabilities = (logits.double() / params.temperature).softmax(0)
    order = list(range(VOCABULARY))
    if params.top_k is not None or params.top_p < 1 or params.min_p > 0:
        order.sort(key=lambda token: -float(probabilities[token]))
    kept = order[: params.top_k] if params.top_k is not None else order
    mass, total, chosen = 0.0, float(probabilities[kept].sum()), []
    for token in kept:
        if mass >= params.top_p * total:
            break
        if probabilities[token] >= params.min_p * probabilities[kept[0]]:
            chosen.append(token)
        mass += float(probabilities[token])
    weights = torch.tensor([float(probabilities[token]) for token in chosen]).double()
    edges = (weights / weights.sum()).cumsum(0)
    near = [abs(float(edge) - point) < 1e-4 for edge in edges]
    place = min(int((edges <= point).sum()), len(chosen) - 1)
    around = {place, *(i for i, is_near in enumerate(near) if is_near)}
    around |= {i + 1 for i, is_near in enumerate(near) if is_near and i + 1 < len(chosen)}
    return {chosen[i] for i in around}


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    point=st.floats(0, 0.999),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.none() | st.integers(1, VOCABULARY),
    top_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.5]),
)
def test_a_draw_is_the_formulas(
    seed: int,
    spread: float,
    point: float,
    temperature: float,
    top_k: int | None,
    top_p: float,
    min_p: float,
) -> None:
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = logits_of(seed, spread)
    chooser = TokenChooser(params, (), Fixed(point))
    assert chooser.choose(logits.clone()).token_id in drawn_slowly(logits, params, point)


def test_penalties_and_bias_change_what_is_likeliest() -> None:
    logits = torch.tensor([3.0, 2.9, -1.0, 0.0])

    def chosen(said: list[int], prompt: tuple[int, ...] = (), **fields: object) -> int:
        chooser = TokenChooser(SamplingParams(**fields), prompt, random.Random(0))
        for token_id in said:
            chooser.accept(token_id)
        return chooser.choose(logits.clone()).token_id

    assert chosen([0]) == 0
    assert chosen([0], presence_penalty=0.2) == 1
    assert chosen([0], frequency_penalty=0.05) == 0
    assert chosen([0, 0, 0], frequency_penalty=0.05) == 1
    assert chosen([], prompt=(0,), presence_penalty=0.2) == 0
    assert chosen([], prompt=(0,), repetition_penalty=1.2) == 1
    assert chosen([], logit_bias={3: 10.0}) == 3
    assert chosen([], logit_bias={0: -100.0}) == 1


def test_no_stop_token_comes_before_the_least_number_of_tokens() -> None:
    params = SamplingParams(max_tokens=8, min_tokens=2, stop_token_ids=frozenset({0}))
    chooser = TokenChooser(params, (), random.Random(0))
    logits = torch.tensor([3.0, 2.0, 1.0])
    chosen = []
    for _ in range(3):
        chosen.append(chooser.choose(logits.clone()).token_id)
        chooser.accept(chosen[-1])
    assert chosen == [1, 1, 0]


def test_logprobs_are_of_the_untouched_logits() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0])
    params = SamplingParams(num_logprobs=2, logit_bias={2: 50.0}, temperature=0.0)
    choice = TokenChooser(params, (), random.Random(0)).choose(logits.clone())
    expected = logits.log_softmax(0)
    assert choice.token_id == 2
    assert choice.logprob == pytest.approx(float(expected[2]))
    assert [token for token, _ in choice.top_logprobs] == [0, 1]


class OnlyEven:
    """Allows even tokens below 20, for three tokens; refuses to go on after a given number."""

    def __init__(self, breaks_after: int = 99) -> None:
        self.said = 0
        self.breaks_after = breaks_after

    def fill_mask(self, bitmask: NDArray[np.int32]) -> None:
        if self.said >= self.breaks_after:
            raise InputError("This grammar has grown too large.", field="regex")
        bits = np.zeros(32 * len(bitmask), dtype=np.uint8)
        bits[0:20:2] = 1
        bitmask[:] = np.packbits(bits, bitorder="little").view(np.int32)

    def accept(self, token_id: int) -> None:
        assert token_id % 2 == 0
        self.said += 1

    @property
    def is_stopped(self) -> bool:
        return self.said == 3

    def num_accepted(self, token_ids: object) -> int:
        raise NotImplementedError

    def forced(self) -> list[int]:
        return []


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_constraint_is_kept_and_ends_the_text(temperature: float) -> None:
    engine = Engine(MODEL, "base", EngineConfig(kv_cache_bytes=1 << 16))
    sampling = SamplingParams(max_tokens=9, temperature=temperature, seed=1)
    free = GenerateRequest((30, 31), sampling)
    held = GenerateRequest((30, 31), sampling, constraint=OnlyEven())
    broken = GenerateRequest((30, 31), sampling, constraint=OnlyEven(breaks_after=1))
    results = engine.run([free, held, broken])
    assert results[1].finish_reason is FinishReason.STOP
    assert len(results[1].token_ids) == 3
    assert all(token % 2 == 0 and token < 20 for token in results[1].token_ids)
    assert len(results[0].token_ids) == 9
    # A grammar that becomes too costly ends its own text and nobody else's.
    assert isinstance(results[2], InputError)
    assert engine.blocks.num_held == 0


def test_the_greedy_ones_of_a_batch_are_left_alone_by_the_others() -> None:
    plain = TokenChooser(SamplingParams(), (), random.Random(0))
    biased = TokenChooser(SamplingParams(logit_bias={2: 9.0}), (), random.Random(0))
    logits = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    assert choose_all(logits, [plain, biased, plain]) == [Choice(0), Choice(2), Choice(2)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_k", 0),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("max_tokens", 0),
        ("min_tokens", 65),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InvalidConfig, match=field):
        SamplingParams(**{field: value})
