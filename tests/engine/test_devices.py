"""The same engine on every device there is: any mix of requests equals one at a time."""

from __future__ import annotations

import pytest
import torch

from descant.engine import (
    EmbedRequest,
    Engine,
    EngineConfig,
    GenerateRequest,
    Request,
    Result,
    SamplingParams,
    ScoreRequest,
    Tail,
)
from descant.model import LoraAdapter
from descant.schema import KvDtype
from descant.schema.errors import DescantError
from tests.tiny import INVOCATION, tiny_adapter, tiny_model

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
    ),
]
LABELS = ((10,), (11, 12), (11, 13))


def requests(adapters: list[LoraAdapter | None]) -> list[Request]:
    """A generation with each adapter, sampled and greedy, scores with all of them, and a vector."""
    shared = (5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6)
    made: list[Request] = []
    for place, adapter in enumerate(adapters):
        prompt = (*shared[: 5 + place], *INVOCATION)
        made.append(GenerateRequest(prompt, SamplingParams(max_tokens=6 + place), adapter))
        sampled = SamplingParams(max_tokens=5, temperature=0.8, top_p=0.9, seed=place)
        made.append(GenerateRequest(prompt, sampled, adapter))
    tails = tuple(Tail(INVOCATION, LABELS, adapter) for adapter in adapters)
    return [*made, ScoreRequest(shared, tails), EmbedRequest(shared)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
def test_any_mix_equals_one_at_a_time(device: str, kv_dtype: KvDtype) -> None:
    model = tiny_model(device=device)
    adapters = [None, *(tiny_adapter(model.config, s, plain=s == 2) for s in range(3))]

    def engine() -> Engine:
        sizes = {"block_tokens": 4, "max_step_tokens": 24, "kv_cache_bytes": 1 << 17}
        return Engine(model, "base", EngineConfig(kv_dtype=kv_dtype, **sizes))

    together = engine().run(requests(adapters))
    for request, result in zip(requests(adapters), together, strict=True):
        [alone] = engine().run([request])
        assert_same(result, alone)


def assert_same(result: Result | DescantError, alone: Result | DescantError) -> None:
    assert type(result) is type(alone)
    assert not isinstance(result, DescantError), result
    for name, value in vars(alone).items():
        got = getattr(result, name)
        if isinstance(value, torch.Tensor):
            assert torch.allclose(got, value, atol=1e-4), name
        elif name == "log_probabilities":
            assert torch.allclose(torch.stack(got), torch.stack(value), atol=1e-4)
        elif name in ("token_ids", "finish_reason"):
            assert got == value, name
