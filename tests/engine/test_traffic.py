"""Mixed traffic in every order: submitted, cancelled, expired and preempted at any step.

What comes out equals one request at a time, and at the end every block and slot is back.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from descant.engine import (
    DoneEvent,
    EmbedRequest,
    Engine,
    EngineConfig,
    Event,
    FailedEvent,
    GenerateRequest,
    SamplingParams,
    ScoreRequest,
    Tail,
    TokenEvent,
)
from descant.schema.errors import DeadlineExceeded
from tests.engine.test_engine import ADAPTERS, EVERY, LONG, MODEL, PLAIN, SINGLE
from tests.tiny import INVOCATION, tiny_adapter

PREFIXES = [tuple(range(start, start + length)) for start, length in ((20, 9), (20, 18), (33, 5))]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def engine(clock: Clock | None = None, **config: int) -> Engine:
    settings = EngineConfig(**{"block_tokens": 4, "kv_cache_bytes": 1 << 14, **config})
    return Engine(MODEL, "base", settings, clock=clock or Clock(), randomness=random.Random(0))


def generation(prefix: int, adapter: int, tokens: int, **fields: object) -> GenerateRequest:
    prompt = (*PREFIXES[prefix], *INVOCATION)
    return GenerateRequest(prompt, SamplingParams(max_tokens=tokens), EVERY[adapter], **fields)


def scoring(prefix: int, adapters: list[int], **fields: object) -> ScoreRequest:
    tails = tuple(Tail(INVOCATION, (SINGLE, LONG)[a % 2], EVERY[a]) for a in adapters)
    return ScoreRequest(PREFIXES[prefix], tails, **fields)


generations = st.builds(
    generation,
    st.integers(0, 2),
    st.integers(0, len(EVERY) - 1),
    st.integers(1, 12),
    priority=st.integers(-1, 2),
)
scorings = st.builds(
    scoring,
    st.integers(0, 2),
    st.lists(st.integers(0, len(EVERY) - 1), min_size=1, max_size=4),
    priority=st.integers(-1, 2),
)


class TrafficMachine(RuleBasedStateMachine):
    """Any interleaving of submitting, stepping, cancelling and letting time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        # Seventeen blocks and room for few adapters: everything has to wait or give way at times.
        self.engine = engine(self.clock, max_step_tokens=16, adapter_bytes=120_000, draft_tokens=3)
        self.requests: dict[int, GenerateRequest | ScoreRequest] = {}
        self.tokens: dict[int, list[int]] = {}

    @rule(request=generations | scorings, patience_s=st.none() | st.integers(1, 20))
    def submit(self, request: GenerateRequest | ScoreRequest, patience_s: int | None) -> None:
        if patience_s is not None:
            request = replace(request, deadline_s=self.clock.now_s + patience_s)
        job_id = self.engine.submit(request)
        self.requests[job_id] = request
        self.tokens[job_id] = []

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.requests)))
        self.engine.cancel(job_id)
        del self.requests[job_id]

    @rule(steps=st.integers(1, 4))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.clock.now_s += 1
            for event in self.engine.step():
                self.take(event)

    def take(self, event: Event) -> None:
        request = self.requests[event.job_id]
        if isinstance(event, TokenEvent):
            self.tokens[event.job_id].append(event.token_id)
            return
        del self.requests[event.job_id]
        if isinstance(event, FailedEvent):
            assert isinstance(event.error, DeadlineExceeded)
            assert request.deadline_s is not None
            assert request.deadline_s <= self.clock.now_s
            return
        # Equal to the slow twin in test_engine, which equals this for one request alone.
        assert isinstance(event, DoneEvent)
        [alone] = engine(kv_cache_bytes=1 << 16).run([replace(request, deadline_s=None)])
        if isinstance(request, GenerateRequest):
            assert event.result.token_ids == alone.token_ids == tuple(self.tokens[event.job_id])
        else:
            pairs = zip(event.result.log_probabilities, alone.log_probabilities, strict=True)
            assert all(torch.allclose(got, expected, atol=1e-4) for got, expected in pairs)

    @invariant()
    def adds_up(self) -> None:
        self.engine.blocks.check_integrity()
        self.engine.adapters.check_integrity()
        if not self.requests:
            assert self.engine.is_idle
            assert self.engine.blocks.num_held == 0
            assert self.engine.adapters.num_used == 0

    def teardown(self) -> None:
        for _ in range(2000):
            if self.engine.is_idle:
                break
            self.step(1)
        assert self.engine.is_idle, "something never ended"
        self.adds_up()


TestTraffic = TrafficMachine.TestCase
TestTraffic.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def drain(made: Engine) -> list[Event]:
    events = []
    while not made.is_idle:
        events += made.step()
    return events


def test_a_generation_that_gives_way_says_the_same_in_the_end() -> None:
    made = engine(kv_cache_bytes=1 << 14)
    requests = [generation(1, adapter, 30) for adapter in (0, 1, 2)]
    crowded = made.run(requests)
    assert made.stats().preemptions > 0
    roomy = engine(kv_cache_bytes=1 << 17).run(requests)
    assert [r.token_ids for r in crowded] == [r.token_ids for r in roomy]
    assert made.blocks.num_held == 0


@pytest.mark.parametrize("adapter", range(len(EVERY)))
@pytest.mark.parametrize("draft_tokens", [1, 4])
def test_guessing_never_changes_what_is_generated(adapter: int, draft_tokens: int) -> None:
    """The tiny model soon repeats itself, so that many guesses are right and some are wrong."""
    request = replace(generation(1, adapter, 60), salt="a")
    [plain] = engine(kv_cache_bytes=1 << 17).generate([request])
    guessing = engine(kv_cache_bytes=1 << 17, draft_tokens=draft_tokens)
    [guessed] = guessing.generate([request])
    assert guessed.token_ids == plain.token_ids
    assert guessed.finish_reason is plain.finish_reason
    stats = guessing.stats()
    assert 0 <= stats.tokens_draft_accepted <= stats.tokens_drafted
    assert guessing.blocks.num_held == 0
    # Blocks published under way hold what was generated, not what was guessed.
    prompt = (*request.prompt_ids, *plain.token_ids)
    follow_up = replace(request, prompt_ids=prompt)
    [again] = guessing.generate([follow_up])
    [fresh] = engine(kv_cache_bytes=1 << 17).generate([follow_up])
    assert again.num_cached > len(request.prompt_ids)
    assert again.token_ids == fresh.token_ids


def test_right_guesses_save_steps() -> None:
    made = engine(kv_cache_bytes=1 << 17, draft_tokens=4)
    results = made.run([generation(1, adapter, 60) for adapter in range(len(EVERY))])
    assert len(results) == len(EVERY)
    assert made.stats().tokens_draft_accepted > 0


def test_interactive_requests_pass_batch_jobs_and_no_batch_job_starves() -> None:
    clock = Clock()
    made = engine(clock, kv_cache_bytes=1 << 14)
    batch = made.submit(generation(0, 0, 12, priority=1))
    ended = []
    for _ in range(80):
        # Two would fill the cache; one comes every second.
        made.submit(scoring(1, [0, 1, 2, 3], priority=0))
        clock.now_s += 1
        ended += [event.job_id for event in made.step() if isinstance(event, DoneEvent)]
        if batch in ended:
            break
    assert batch in ended
    assert ended.index(batch) >= 3


def test_a_client_that_leaves_frees_everything_within_a_step() -> None:
    made = engine()
    jobs = [made.submit(generation(1, 2, 12)), made.submit(scoring(0, [1, 3, 4]))]
    made.step()
    for job_id in jobs:
        made.cancel(job_id)
        made.cancel(job_id)
    assert made.is_idle
    assert made.blocks.num_held == made.adapters.num_used == 0
    assert made.step() == []


def test_a_scoring_of_more_adapters_than_fit_at_once_runs_in_turns() -> None:
    made = engine(kv_cache_bytes=1 << 16, adapter_bytes=60_000)
    request = scoring(1, list(range(len(EVERY))))
    assert made.adapters.most_at_once(ADAPTERS) < len(ADAPTERS)
    [few], [many] = made.score([request]), engine(kv_cache_bytes=1 << 16).score([request])
    for got, expected in zip(few.log_probabilities, many.log_probabilities, strict=True):
        assert torch.allclose(got, expected, atol=1e-4)
    assert made.adapters.num_used == 0


def test_weights_replaced_under_one_name_do_not_reach_a_generation_under_way() -> None:
    made = engine(kv_cache_bytes=1 << 16)
    old = tiny_adapter(MODEL.config, 11, plain=True, name="empathy")
    new = tiny_adapter(MODEL.config, 12, plain=True, name="empathy")
    prompt = (*PREFIXES[1], *INVOCATION)
    first = made.submit(GenerateRequest(prompt, SamplingParams(max_tokens=8), old))
    made.step()
    second = made.submit(GenerateRequest(prompt, SamplingParams(max_tokens=8), new))
    results = {e.job_id: e.result for e in drain(made) if isinstance(e, DoneEvent)}
    for job_id, adapter in ((first, old), (second, new)):
        fresh = engine(kv_cache_bytes=1 << 16)
        request = GenerateRequest(prompt, SamplingParams(max_tokens=8), adapter)
        assert results[job_id].token_ids == fresh.generate([request])[0].token_ids
    assert results[first].token_ids != results[second].token_ids


def test_the_same_weights_under_two_names_share_their_cache() -> None:
    made = engine(kv_cache_bytes=1 << 16)
    one = PLAIN[0]
    other = replace(one, name="another name")
    prompt = (*PREFIXES[1], *INVOCATION)
    made.generate([GenerateRequest(prompt, SamplingParams(max_tokens=1), one)])
    [result] = made.generate([GenerateRequest(prompt, SamplingParams(max_tokens=1), other)])
    assert result.num_cached == 16


def test_a_chat_that_ends_in_an_invocation_reuses_what_the_base_has_read() -> None:
    made = engine(kv_cache_bytes=1 << 16)
    base = GenerateRequest(PREFIXES[1], SamplingParams(max_tokens=1))
    made.generate([base])
    [result] = made.generate([generation(1, 1, 1)])
    assert result.num_cached == 16
    salted = replace(generation(1, 1, 1), salt="tenant")
    assert made.generate([salted])[0].num_cached == 0


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 30), step_tokens=st.sampled_from([4, 64]))
def test_an_embedding_is_the_mean_of_the_hidden_states(length: int, step_tokens: int) -> None:
    ids = tuple(range(10, 10 + length))
    [result] = engine(max_step_tokens=step_tokens).embed([EmbedRequest(ids)])
    from descant.model import DenseCausal

    with torch.inference_mode():
        hidden = MODEL(torch.tensor(ids), torch.arange(length), DenseCausal())
    expected = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    assert torch.allclose(result.vector, expected, atol=1e-5)


def test_a_deadline_that_has_passed_is_a_typed_error() -> None:
    clock = Clock()
    made = engine(clock)
    late = replace(generation(0, 0, 3), deadline_s=5.0)
    job_id = made.submit(late)
    clock.now_s = 6.0
    [event] = made.step()
    assert isinstance(event, FailedEvent)
    assert event.job_id == job_id
    with pytest.raises(DeadlineExceeded):
        made.generate([late])
