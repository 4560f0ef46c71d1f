"""The engine: token ids in, label probabilities, token ids or vectors out.

One loop serves everything: schedule, run, use the hidden states. A `ScoreRequest` becomes a reading,
the shared prefix, that forks into short sequences when it has been read; a `GenerateRequest` becomes
a sequence that grows; an `EmbedRequest` one that ends when it has been read. `submit`, `cancel` and
`step` belong to one thread. Knows no text, no files and no network.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TypeVar

import torch

from descant.engine.adapter_pool import AdapterPool
from descant.engine.batch import BatchBuilder
from descant.engine.embedding import Embedding
from descant.engine.generation import Generation
from descant.engine.kv_cache import BlockPool, KvCache, bytes_per_slot
from descant.engine.requests import (
    DoneEvent,
    EmbedRequest,
    EmbedResult,
    Event,
    FailedEvent,
    GenerateRequest,
    GenerateResult,
    Request,
    Result,
    ScoreRequest,
    ScoreResult,
    TokenEvent,
)
from descant.engine.runner import Runner
from descant.engine.sampler import Choice, choose_all
from descant.engine.scheduler import Scheduler
from descant.engine.scoring import Scoring
from descant.engine.sequence import Sequence
from descant.model import AttentionKernel, Transformer, choose_kernel
from descant.schema.errors import (
    ContextTooLong,
    DeadlineExceeded,
    DescantError,
    InvalidConfig,
)

Job = Scoring | Generation | Embedding
R = TypeVar("R", ScoreResult, GenerateResult, EmbedResult)


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    kv_cache_bytes: int = 1 << 30
    block_tokens: int = 16
    max_step_tokens: int = 2048
    adapter_bytes: int = 2 << 30
    """What the slots of active adapters may take; there is always one."""
    ageing_s: float = 30.0
    """A request waits at most this much longer for every level that its priority is lower."""

    def __post_init__(self) -> None:
        for name in ("kv_cache_bytes", "block_tokens", "max_step_tokens", "adapter_bytes"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        if not self.ageing_s > 0:
            raise InvalidConfig("ageing_s must be greater than 0.", field="ageing_s")


@dataclass(frozen=True)
class EngineStats:
    """Where the engine stands, for metrics; counts since it was made."""

    num_running: int
    num_waiting: int
    kv_blocks: int
    kv_blocks_held: int
    adapters_active: int
    adapters_used: int
    adapter_bytes: int
    adapter_activations: int
    adapter_evictions: int
    preemptions: int
    tokens_computed: int
    prompt_tokens: int
    prompt_tokens_cached: int


class Engine:
    """Runs requests over one base model and the adapters they bring along."""

    def __init__(
        self,
        model: Transformer,
        base_hash: str,
        config: EngineConfig | None = None,
        kernel: AttentionKernel | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ):
        """Allocate the cache; `base_hash` is part of every block's identity."""
        self.model = model
        self.config = config or EngineConfig()
        self.adapters = AdapterPool(
            model.config, self.config.adapter_bytes, model.dtype, model.device
        )
        self.blocks = BlockPool(self._num_blocks())
        self.scheduler = Scheduler(
            self.blocks,
            self.adapters,
            self.config.block_tokens,
            self.config.max_step_tokens,
            base_hash,
            self.config.ageing_s,
        )
        self._clock = clock
        self._randomness = randomness or random.Random()
        self._jobs: dict[int, Job] = {}
        self._deadlines_s: dict[int, float] = {}
        self._job_ids = itertools.count()
        self._tokens_computed = self._prompt_tokens = self._prompt_tokens_cached = 0
        self._builder = BatchBuilder(self.adapters, self.config.block_tokens, model.device)
        self._runner = Runner(
            model, self._cache(), self.adapters, kernel or choose_kernel(model.device, model.dtype)
        )

    @property
    def max_sequence_tokens(self) -> int:
        """The most tokens that prompt and answer together can have."""
        in_cache = self.blocks.num_blocks * self.config.block_tokens
        return min(self.model.config.max_positions, in_cache)

    @property
    def is_idle(self) -> bool:
        """True when nothing is left to compute."""
        return self.scheduler.is_idle

    def submit(self, request: Request) -> int:
        """Queue a request and return the id its events carry.

        Raises:
            InputError: the request is wrong or too long for the model.
            OutOfBlocks: it would not fit into an empty KV cache.
        """
        job = self._job(request)
        for sequence in job.sequences:
            self._check_length(sequence)
            self.scheduler.check(sequence)
        job_id = next(self._job_ids)
        for sequence in job.sequences:
            for member in (sequence, *sequence.children):
                member.job_id = job_id
            self.scheduler.add(sequence, self._clock(), request.priority)
        self._jobs[job_id] = job
        if request.deadline_s is not None:
            self._deadlines_s[job_id] = request.deadline_s
        return job_id

    def cancel(self, job_id: int) -> None:
        """Drop a request with all it holds; one that has ended is left alone."""
        job = self._jobs.pop(job_id, None)
        self._deadlines_s.pop(job_id, None)
        if job is not None:
            self.scheduler.abort(job.sequences)

    def step(self) -> list[Event]:
        """Compute one step and return what came of it."""
        events = self._expire()
        scheduled = self.scheduler.schedule()
        if not scheduled:
            return events
        batch = self._builder.build(scheduled)
        hidden = self._runner.run(batch)
        for sequence, rows in batch.kept_rows:
            sequence.hidden.append(hidden[rows])
        self._tokens_computed += len(batch.token_ids)
        computed = self.scheduler.complete(scheduled)
        events += self._extend([s for s in computed if s.chooser is not None])
        read = [s for s in computed if s.chooser is None and not s.children]
        for sequence in computed:
            if sequence.children:
                self.scheduler.fork(sequence)
        for sequence in read:
            self.scheduler.finish(sequence)
        # What was read ahead belongs to no request.
        job_ids = dict.fromkeys(s.job_id for s in read if s.job_id is not None)
        return [*events, *itertools.chain.from_iterable(map(self._finish_when_done, job_ids))]

    def run(self, requests: Seq[Request]) -> list[Result | DescantError]:
        """Compute all requests to their end; what cannot be computed gives its error."""
        outcomes: dict[int, Result | DescantError] = {}
        places: dict[int, int] = {}
        for place, request in enumerate(requests):
            try:
                places[self.submit(request)] = place
            except DescantError as error:
                outcomes[place] = error
        try:
            while not self.is_idle:
                for event in self.step():
                    if isinstance(event, DoneEvent):
                        outcomes[places[event.job_id]] = event.result
                    elif isinstance(event, FailedEvent):
                        outcomes[places[event.job_id]] = event.error
        finally:
            for job_id in places:
                self.cancel(job_id)
        return [outcomes[place] for place in range(len(requests))]

    def read(self, prefix_ids: Seq[int], salt: str = "") -> int:
        """Read a prefix into the cache ahead of the requests that will share it.

        Returns the number of tokens that went through the model.

        Raises:
            ContextTooLong: it is longer than the model reads.
            OutOfBlocks: it would not fit into the KV cache.
        """
        reading = Sequence(list(prefix_ids), salt=salt)
        self._check_length(reading)
        self.scheduler.add(reading, self._clock(), 0)
        while not self.is_idle:
            self.step()
        return reading.num_run

    def score(self, requests: Seq[ScoreRequest]) -> list[ScoreResult]:
        """Answer every tail of every request.

        Raises:
            DescantError: the first reason why one of them was not answered.
        """
        return [_of_type(outcome, ScoreResult) for outcome in self.run(requests)]

    def generate(self, requests: Seq[GenerateRequest]) -> list[GenerateResult]:
        """Continue every prompt.

        Raises:
            DescantError: the first reason why one of them was not continued.
        """
        return [_of_type(outcome, GenerateResult) for outcome in self.run(requests)]

    def embed(self, requests: Seq[EmbedRequest]) -> list[EmbedResult]:
        """Represent every text by a vector.

        Raises:
            DescantError: the first reason why one of them was not read.
        """
        return [_of_type(outcome, EmbedResult) for outcome in self.run(requests)]

    def stats(self) -> EngineStats:
        """Return where the engine stands."""
        pool = self.adapters
        return EngineStats(
            num_running=len({s.job_id for s in self.scheduler.running}),
            num_waiting=len({s.job_id for s in self.scheduler.waiting}),
            kv_blocks=self.blocks.num_blocks,
            kv_blocks_held=self.blocks.num_held,
            adapters_active=len(pool),
            adapters_used=pool.num_used,
            adapter_bytes=pool.num_bytes,
            adapter_activations=pool.num_activations,
            adapter_evictions=pool.num_evictions,
            preemptions=self.scheduler.num_preemptions,
            tokens_computed=self._tokens_computed,
            prompt_tokens=self._prompt_tokens,
            prompt_tokens_cached=self._prompt_tokens_cached,
        )

    def _job(self, request: Request) -> Job:
        if isinstance(request, GenerateRequest):
            return Generation(request, self._randomness)
        if isinstance(request, EmbedRequest):
            return Embedding(request)
        adapters = [tail.adapter for tail in request.tails if tail.adapter is not None]
        return Scoring(request, self.adapters.most_at_once(adapters))

    def _expire(self) -> list[Event]:
        now_s = self._clock()
        late = [job_id for job_id, time_s in self._deadlines_s.items() if time_s <= now_s]
        events: list[Event] = []
        for job_id in late:
            self.cancel(job_id)
            error = DeadlineExceeded("The request's deadline passed before it was answered.")
            events.append(FailedEvent(job_id, error))
        return events

    def _extend(self, sequences: Seq[Sequence]) -> list[Event]:
        """Choose the next token of each generation."""
        if not sequences:
            return []
        with torch.inference_mode():
            hidden = torch.cat([sequence.hidden.pop() for sequence in sequences])
            logits = self.model.logits(hidden).cpu()
            choosers = [s.chooser for s in sequences if s.chooser is not None]
            choices = choose_all(logits, choosers)
        events: list[Event] = []
        for sequence, choice in zip(sequences, choices, strict=True):
            events += self._take(sequence, choice)
        return events

    def _take(self, sequence: Sequence, choice: Choice | DescantError) -> list[Event]:
        """Let one generation go on behind its next token, or end."""
        job_id, generation = self._generation_of(sequence)
        try:
            if isinstance(choice, DescantError):
                raise choice
            is_text = generation.extend(choice.token_id)
        except DescantError as error:
            self.cancel(job_id)
            return [FailedEvent(job_id, error)]
        events: list[Event] = []
        if is_text:
            events.append(
                TokenEvent(
                    job_id,
                    choice.token_id,
                    choice.logprob,
                    choice.top_logprobs,
                    sequence.num_cached or 0,
                )
            )
        if sequence.finish_reason is not None:
            self.scheduler.finish(sequence)
            events.append(self._done(job_id, generation.result()))
        return events

    def _generation_of(self, sequence: Sequence) -> tuple[int, Generation]:
        assert sequence.job_id is not None
        job = self._jobs[sequence.job_id]
        assert isinstance(job, Generation)
        return sequence.job_id, job

    def _finish_when_done(self, job_id: int) -> list[Event]:
        job = self._jobs[job_id]
        assert not isinstance(job, Generation)
        if not job.is_done:
            return []
        result = job.result(self.model) if isinstance(job, Scoring) else job.result()
        return [self._done(job_id, result)]

    def _done(self, job_id: int, result: Result) -> DoneEvent:
        job = self._jobs.pop(job_id)
        self._deadlines_s.pop(job_id, None)
        for sequence in job.sequences:
            self._prompt_tokens += sequence.num_prompt
            self._prompt_tokens_cached += sequence.num_cached or 0
        return DoneEvent(job_id, result)

    def _check_length(self, sequence: Sequence) -> None:
        longest = max(s.num_slots for s in (sequence, *sequence.children))
        if longest > self.model.config.max_positions:
            raise ContextTooLong(
                f"{longest} tokens are needed and the model reads {self.model.config.max_positions}.",
                remedy="Send less text, or use a model with a longer context.",
            )

    def _num_blocks(self) -> int:
        shape = self.model.config
        per_slot = bytes_per_slot(
            shape.num_layers, shape.num_kv_heads, shape.head_dim, self.model.dtype
        )
        return max(1, self.config.kv_cache_bytes // (per_slot * self.config.block_tokens))

    def _cache(self) -> KvCache:
        shape = self.model.config
        num_slots = self.blocks.num_blocks * self.config.block_tokens
        return KvCache(
            shape.num_layers,
            shape.num_kv_heads,
            shape.head_dim,
            num_slots,
            self.model.dtype,
            self.model.device,
        )


def _of_type(outcome: Result | DescantError, kind: type[R]) -> R:
    if isinstance(outcome, DescantError):
        raise outcome
    assert isinstance(outcome, kind)
    return outcome
