"""The engine: token ids in, label probabilities or token ids out.

One loop serves both: schedule, run, use the hidden states. A `ScoreRequest` becomes a reading, the
shared prefix, that forks into short sequences when it has been read; a `GenerateRequest` becomes a
sequence that grows. Knows no text, no files and no network.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from descant.engine.adapter_pool import AdapterPool
from descant.engine.batch import BatchBuilder
from descant.engine.kv_cache import BlockPool, KvCache, bytes_per_slot
from descant.engine.runner import Runner
from descant.engine.sampler import sample
from descant.engine.scheduler import Scheduler
from descant.engine.scoring import ScoreRequest, ScoreResult, Scoring, first_active, resident
from descant.engine.sequence import FinishReason, SamplingParams, Sequence
from descant.model import AttentionKernel, LoraAdapter, Transformer, choose_kernel
from descant.schema.errors import ContextTooLong, InputError, InvalidConfig


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    kv_cache_bytes: int = 1 << 30
    block_tokens: int = 16
    max_step_tokens: int = 2048
    max_adapters: int = 128

    def __post_init__(self) -> None:
        for name in ("kv_cache_bytes", "block_tokens", "max_step_tokens", "max_adapters"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)


@dataclass(frozen=True)
class GenerateRequest:
    """A prompt to continue."""

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    adapter_hash: str | None = None
    salt: str = ""


@dataclass(frozen=True)
class GenerateResult:
    """What was generated; a stop token is not part of it."""

    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    num_read: int
    """Prompt and output tokens that went through the model; the rest came from the cache."""


class Engine:
    """Runs requests over one base model and its resident adapters."""

    def __init__(
        self,
        model: Transformer,
        base_hash: str,
        config: EngineConfig | None = None,
        kernel: AttentionKernel | None = None,
    ):
        """Allocate the cache; `base_hash` is part of every block's identity."""
        self.model = model
        self.config = config or EngineConfig()
        self.adapters = AdapterPool(
            model.config, self.config.max_adapters, model.dtype, model.device
        )
        self.blocks = BlockPool(self._num_blocks())
        self.scheduler = Scheduler(
            self.blocks, self.config.block_tokens, self.config.max_step_tokens, base_hash
        )
        self._builder = BatchBuilder(self.adapters, self.config.block_tokens, model.device)
        self._runner = Runner(
            model, self._cache(), self.adapters, kernel or choose_kernel(model.device, model.dtype)
        )

    def load_adapter(self, adapter: LoraAdapter) -> None:
        """Make an adapter resident; requests name it by its content hash.

        Raises:
            OutOfSlots: the pool is full.
        """
        self.adapters.load(adapter)

    def read(self, prefix_ids: Seq[int], salt: str = "") -> int:
        """Read a prefix into the cache ahead of the requests that will share it.

        Returns the number of tokens that went through the model.

        Raises:
            ContextTooLong: it is longer than the model reads.
            OutOfBlocks: it would not fit into the KV cache.
        """
        reading = Sequence(list(prefix_ids), salt=salt)
        self._run([reading])
        return reading.num_run

    def check(self, request: ScoreRequest) -> None:
        """Find out whether a request could run, without running it.

        Raises:
            InputError: a tail is wrong, or the request is too long for the model.
            OutOfBlocks: it would not fit into an empty KV cache.
        """
        for reading in Scoring(request, self.adapters).readings:
            self._check_length(reading)
            self.scheduler.check(reading)

    def score(self, requests: Seq[ScoreRequest]) -> list[ScoreResult]:
        """Answer every tail of every request.

        Raises:
            InputError: a request cannot be run; none was.
            OutOfBlocks: a request would not fit into the KV cache; none was run.
        """
        scorings = [Scoring(request, self.adapters) for request in requests]
        readings = [reading for scoring in scorings for reading in scoring.readings]
        self._run(readings)
        return [scoring.result(self.model) for scoring in scorings]

    def generate(self, requests: Seq[GenerateRequest]) -> list[GenerateResult]:
        """Continue every prompt.

        Raises:
            InputError: a request cannot be run; none was.
            OutOfBlocks: a request would not fit into the KV cache; none was run.
        """
        sequences = [self._generation(request) for request in requests]
        self._run(sequences)
        return [_generated(sequence) for sequence in sequences]

    def step(self) -> int:
        """Compute one step and return how many tokens it had; 0 when idle."""
        scheduled = self.scheduler.schedule()
        if not scheduled:
            return 0
        batch = self._builder.build(scheduled)
        hidden = self._runner.run(batch)
        for sequence, rows in batch.kept_rows:
            sequence.hidden.append(hidden[rows])
        for sequence in self.scheduler.complete(scheduled):
            self._advance(sequence)
        return sum(item.num_tokens for item in scheduled)

    def _run(self, sequences: Seq[Sequence]) -> None:
        for sequence in sequences:
            self._check_length(sequence)
        try:
            for sequence in sequences:
                self.scheduler.add(sequence)
            while self.step():
                pass
        finally:
            self.scheduler.abort_all()

    def _advance(self, sequence: Sequence) -> None:
        if sequence.children:
            self.scheduler.fork(sequence)
        elif sequence.sampling is None:
            self.scheduler.finish(sequence)
        else:
            self._extend(sequence, sequence.sampling)

    def _extend(self, sequence: Sequence, sampling: SamplingParams) -> None:
        with torch.inference_mode():
            logits = self.model.logits(sequence.hidden.pop())[-1]
        token_id = sample(logits.cpu(), sampling, sequence.generator)
        if token_id in sampling.stop_token_ids:
            sequence.finish_reason = FinishReason.STOP
        else:
            sequence.token_ids.append(token_id)
            if len(sequence.output_ids) == sampling.max_tokens:
                sequence.finish_reason = FinishReason.LENGTH
        if sequence.finish_reason is not None:
            self.scheduler.finish(sequence)

    def _generation(self, request: GenerateRequest) -> Sequence:
        if not request.prompt_ids:
            raise InputError("The prompt is empty.", field="prompt")
        activation = 0
        if request.adapter_hash is not None:
            adapter = resident(self.adapters, request.adapter_hash)
            activation = first_active(adapter, request.prompt_ids)
        return Sequence(
            list(request.prompt_ids),
            adapter_hash=request.adapter_hash,
            activation=activation,
            salt=request.salt,
            sampling=request.sampling,
            generator=_generator(request.sampling),
        )

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


def _generated(sequence: Sequence) -> GenerateResult:
    reason = sequence.finish_reason
    assert reason is not None, "a sequence left the loop unfinished"
    return GenerateResult(tuple(sequence.output_ids), reason, sequence.num_run)


def _generator(sampling: SamplingParams) -> torch.Generator | None:
    if sampling.seed is None:
        return None
    return torch.Generator().manual_seed(sampling.seed)
