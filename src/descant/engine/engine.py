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
from typing import TypeVar

import torch

from descant.engine.adapter_pool import AdapterPool
from descant.engine.batch import BatchBuilder
from descant.engine.embedding import Embedding
from descant.engine.engine_config import EngineConfig
from descant.engine.generation import Generation
from descant.engine.kv_cache import BlockPool, KvCache, identity, num_blocks_in
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
from descant.engine.stats import EngineStats
from descant.model import AttentionKernel, LoraAdapter, Transformer, choose_kernel
from descant.schema.errors import (
    ContextTooLong,
    DeadlineExceeded,
    DescantError,
    InvalidConfig,
)

Job = Scoring | Generation | Embedding
R = TypeVar("R", ScoreResult, GenerateResult, EmbedResult)


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
        """Allocate the cache; `base_hash` is part of every block's identity.

        So are the model's quantization and the number formats of the cache and of adapters.
        """
        self.model = model
        self.config = config or EngineConfig()
        self.adapters = AdapterPool(
            model.config,
            self.config.adapter_bytes,
            model.dtype,
            model.device,
            self.config.adapter_dtype,
        )
        self.blocks = BlockPool(
            num_blocks_in(
                self.config.kv_cache_bytes, self.config.block_tokens, model, self.config.kv_dtype
            )
        )
        self.scheduler = Scheduler(
            self.blocks,
            self.adapters,
            self.config.block_tokens,
            self.config.max_step_tokens,
            identity(
                base_hash,
                model.quantization,
                self.config.kv_dtype,
                self.config.adapter_dtype,
            ),
            self.config.ageing_s,
            self.config.draft_tokens,
        )
        self._clock = clock
        self._randomness = randomness or random.Random()
        self._jobs: dict[int, Job] = {}
        self._deadlines_s: dict[int, float] = {}
        self._job_ids = itertools.count()
        self._tokens_computed = self._prompt_tokens = self._prompt_tokens_cached = 0
        self._tokens_drafted = self._tokens_draft_accepted = 0
        self._builder = BatchBuilder(self.adapters, self.config.block_tokens, model.device)
        num_slots = self.blocks.num_blocks * self.config.block_tokens
        cache = KvCache.of(model, num_slots, self.config.kv_dtype)
        self._runner = Runner(
            model, cache, self.adapters, kernel or choose_kernel(model.device, model.dtype)
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
        drafts = {id(item.sequence): item.draft for item in scheduled}
        events += self._extend([(s, drafts[id(s)]) for s in computed if s.chooser is not None])
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
            tokens_drafted=self._tokens_drafted,
            tokens_draft_accepted=self._tokens_draft_accepted,
            tokens_computed=self._tokens_computed,
            prompt_tokens=self._prompt_tokens,
            prompt_tokens_cached=self._prompt_tokens_cached,
        )

    def _job(self, request: Request) -> Job:
        if isinstance(request, GenerateRequest):
            self._most_at_once([request.adapter])
            return Generation(request, self._randomness, self.config.draft_tokens > 0)
        if isinstance(request, EmbedRequest):
            return Embedding(request)
        return Scoring(request, self._most_at_once([tail.adapter for tail in request.tails]))

    def _most_at_once(self, asked: Seq[LoraAdapter | None]) -> int:
        adapters = [adapter for adapter in asked if adapter is not None]
        readers = [adapter.reader for adapter in adapters if adapter.reader is not None]
        most = self.adapters.most_at_once([*adapters, *readers])
        if readers and most < 2:
            raise InvalidConfig(
                "An adapter with a reader needs two slots, and there is one.",
                field="adapter_bytes",
                remedy="Raise adapter_bytes.",
            )
        return most

    def _expire(self) -> list[Event]:
        now_s = self._clock()
        late = [job_id for job_id, time_s in self._deadlines_s.items() if time_s <= now_s]
        events: list[Event] = []
        for job_id in late:
            self.cancel(job_id)
            error = DeadlineExceeded("The request's deadline passed before it was answered.")
            events.append(FailedEvent(job_id, error))
        return events

    def _extend(self, generations: Seq[tuple[Sequence, tuple[int, ...]]]) -> list[Event]:
        """Choose the next token of each generation, and more where its draft was right."""
        if not generations:
            return []
        with torch.inference_mode():
            rows = [sequence.hidden.pop() for sequence, _ in generations]
            logits = self.model.logits(torch.cat(rows)).cpu()
            owners = [s.chooser for s, draft in generations for _ in range(1 + len(draft))]
            choices = iter(choose_all(logits, [owner for owner in owners if owner is not None]))
        events: list[Event] = []
        for sequence, draft in generations:
            events += self._follow(sequence, draft, [next(choices) for _ in range(1 + len(draft))])
        return events

    def _follow(
        self, sequence: Sequence, draft: tuple[int, ...], choices: Seq[Choice | DescantError]
    ) -> list[Event]:
        """Take the choice behind the last known token, and those behind every right guess."""
        self._tokens_drafted += len(draft)
        events = self._take(sequence, choices[0])
        for guess, before, choice in zip(draft, choices, choices[1:], strict=False):
            has_ended = sequence.finish_reason is not None
            if has_ended or not isinstance(before, Choice) or before.token_id != guess:
                break
            # The guess was computed in this step, as the token it turned out to be.
            sequence.num_computed += 1
            self._tokens_draft_accepted += 1
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


def _of_type(outcome: Result | DescantError, kind: type[R]) -> R:
    if isinstance(outcome, DescantError):
        raise outcome
    assert isinstance(outcome, kind)
    return outcome
