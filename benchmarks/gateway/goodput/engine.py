"""One simulated upstream: an engine with continuous batching, adapter slots and a prefix cache.

Modelled after vLLM serving Llama 3.1 8B in bfloat16 on one H100 SXM. What a step costs follows from
published figures (a roofline), not from a fit:

- 989 dense TFLOP/s and 3.35 TB/s (NVIDIA's data sheet), of which 50 % and 75 % are assumed reached;
- 8.03 billion parameters of two bytes; 2 FLOP for a parameter and token; attention's own FLOP left out;
- a token's keys and values: 2 x 32 layers x 8 heads x 128 x 2 bytes = 131,072 bytes;
- a step takes 2 ms (assumed: scheduling, launches) plus the longer of computing its tokens and reading
  the weights and the keys and values of what is being written;
- at most 256 running requests and 1,024 tokens a step (a full one takes 35 ms, below the 50 ms asked for a
  token): running answers first, then prompts in pieces;
- KV cache: 90 % of 80 GB less weights, slots and 3 GB of activations, about 390,000 tokens. Room for
  the answer is taken at the beginning, so nothing is ever put back to wait;
- 16 adapter slots of 60. A request whose adapter has no slot waits until one is free of running
  requests (`max_loras`), while later ones under held adapters pass it; the least recently used goes;
- loading an adapter: rank 16 on all projections, 84 MB. All 60 are in the host's memory; copying
  takes 20 ms (7 ms at 12 GB/s of pageable memory, the rest for some 450 tensors), and the step
  waits for it. Computing with many adapters in a batch costs nothing extra.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.gateway.goodput.kv_blocks import BLOCK_TOKENS, KvBlocks
from benchmarks.gateway.goodput.workload import Request


@dataclass(frozen=True)
class Hardware:
    """What a step costs."""

    flops_per_s: float = 989e12 * 0.5
    bytes_per_s: float = 3.35e12 * 0.75
    parameters: float = 8.03e9
    kv_bytes_per_token: int = 131_072
    overhead_s: float = 0.002
    step_tokens: int = 1024
    max_running: int = 256
    adapter_slots: int = 16
    adapter_bytes: float = 84e6
    adapter_load_s: float = 0.020

    @property
    def kv_blocks(self) -> int:
        """Return how many blocks the KV cache has."""
        left = 80e9 * 0.9 - 2 * self.parameters - self.adapter_slots * self.adapter_bytes - 3e9
        return int(left / self.kv_bytes_per_token / BLOCK_TOKENS)

    def step_s(self, tokens: int, kv_tokens: int) -> float:
        """Return how long a step takes that computes `tokens` beside `kv_tokens` of past."""
        compute_s = 2 * self.parameters * tokens / self.flops_per_s
        read_s = (2 * self.parameters + kv_tokens * self.kv_bytes_per_token) / self.bytes_per_s
        return self.overhead_s + max(compute_s, read_s)


@dataclass(slots=True)
class _Running:
    """A request in the batch."""

    request: Request
    prompt: list[int]
    blocks: list[int]
    """Prompt and answer."""
    to_read: int


@dataclass
class Counts:
    """What an engine has done."""

    adapter_loads: int = 0
    prompt_tokens: int = 0
    prompt_tokens_read: int = 0


@dataclass(slots=True)
class _Step:
    """What one step will have done when it ends."""

    ends_s: float
    read: list[_Running] = field(default_factory=list)
    """Whose prompts end with it."""


class Engine:
    """Takes requests and runs step by step; `schedule(time_s, act)` is the simulation's clock."""

    def __init__(self, hardware: Hardware, system_tokens: int, events: EngineEvents):
        self.hardware = hardware
        self.counts = Counts()
        self.num_waiting = 0
        self._system_tokens = system_tokens
        self._events = events
        self._kv = KvBlocks(hardware.kv_blocks)
        self._waiting: dict[int, deque[Request]] = {}
        self._reading: deque[_Running] = deque()
        self._writing = 0
        self._written_tokens = 0
        self._ends: dict[int, list[_Running]] = {}
        self._slots: dict[int, int] = {}
        self._steps = 0
        self._is_busy = False
        self._may_admit = False

    @property
    def num_running(self) -> int:
        """Return the requests in the batch."""
        return len(self._reading) + self._writing

    @property
    def kv_use(self) -> float:
        """Return the part of the KV cache that running requests hold."""
        return self._kv.num_used / self._kv.capacity

    @property
    def running_adapters(self) -> list[int]:
        """Return the adapters of running requests, as the engine's metrics name them."""
        return [adapter for adapter, users in self._slots.items() if users]

    @property
    def waiting_adapters(self) -> list[int]:
        """Return the adapters of waiting requests."""
        return [adapter for adapter, queue in self._waiting.items() if queue]

    def submit(self, request: Request, now_s: float) -> None:
        """Take a request."""
        self._waiting.setdefault(request.session.adapter, deque()).append(request)
        self.num_waiting += 1
        self._may_admit = True
        if not self._is_busy:
            self._step(now_s)

    def _step(self, now_s: float) -> None:
        loads = self._admit()
        budget = self.hardware.step_tokens - self._writing
        tokens, read = self._writing, []
        for running in self._reading:
            piece = min(budget, running.to_read)
            running.to_read -= piece
            budget -= piece
            tokens += piece
            if not running.to_read:
                read.append(running)
            if not budget:
                break
        self._is_busy = tokens > 0
        if self._is_busy:
            step_s = self.hardware.step_s(tokens, self._written_tokens)
            ends_s = now_s + step_s + loads * self.hardware.adapter_load_s
            step = _Step(ends_s, read)
            self._events.schedule(ends_s, lambda: self._end(step))

    def _end(self, step: _Step) -> None:
        self._steps += 1
        self._written_tokens += self._writing
        for running in self._ends.pop(self._steps, ()):
            self._finish(running, step.ends_s)
        for running in step.read:
            self._begin_writing(running, step.ends_s)
        self._step(step.ends_s)

    def _begin_writing(self, running: _Running, now_s: float) -> None:
        request = running.request
        self._reading.remove(running)
        self._writing += 1
        self._written_tokens += request.prompt_tokens + 1
        self._kv.fill(running.prompt)
        self._ends.setdefault(self._steps + request.answer_tokens - 1, []).append(running)
        self._events.first_token(request, now_s)

    def _finish(self, running: _Running, now_s: float) -> None:
        request = running.request
        total_tokens = request.prompt_tokens + request.answer_tokens
        self._writing -= 1
        self._written_tokens -= total_tokens
        self._kv.fill(running.blocks[: total_tokens // BLOCK_TOKENS])
        self._kv.release(running.blocks)
        self._slots[request.session.adapter] -= 1
        self._may_admit = True
        self._events.finished(request, now_s)

    def _admit(self) -> int:
        """Let in what has room, in the order of arrival; return how many adapters were loaded."""
        loads = 0
        left = self.hardware.step_tokens - self._writing - sum(r.to_read for r in self._reading)
        while self._may_admit and left > 0 and self.num_running < self.hardware.max_running:
            queues = [
                queue
                for adapter, queue in self._waiting.items()
                if queue and self._slot_for(adapter) is not None
            ]
            if not queues:
                self._may_admit = False
                break
            queue = min(queues, key=lambda queue: queue[0].number)
            running = self._begin_reading(queue[0])
            if running is None:
                self._may_admit = False
                break
            queue.popleft()
            self.num_waiting -= 1
            left -= running.to_read
            loads += self._hold_adapter(running.request.session.adapter)
        return loads

    def _begin_reading(self, request: Request) -> _Running | None:
        total_tokens = request.prompt_tokens + request.answer_tokens
        blocks = self._chain(request, -(-total_tokens // BLOCK_TOKENS))
        prompt = blocks[: request.prompt_tokens // BLOCK_TOKENS]
        found = self._kv.found(prompt)
        if not self._kv.take(blocks):
            return None
        to_read = max(1, request.prompt_tokens - found * BLOCK_TOKENS)
        self.counts.prompt_tokens += request.prompt_tokens
        self.counts.prompt_tokens_read += to_read
        running = _Running(request, prompt, blocks, to_read)
        self._reading.append(running)
        return running

    def _chain(self, request: Request, length: int) -> list[int]:
        """Number the blocks: an adapter's own ones below zero, a session's above."""
        shared = self._system_tokens // BLOCK_TOKENS
        first = -(request.session.adapter + 1) * 1000
        own = request.session.number * 1000
        return [*range(first, first + shared), *range(own, own + length - shared)]

    def _slot_for(self, adapter: int) -> int | None:
        """Return the adapter whose slot it would take, itself if it has one; -1: a free slot."""
        if adapter in self._slots:
            return adapter
        if len(self._slots) < self.hardware.adapter_slots:
            return -1
        return next((held for held, users in self._slots.items() if not users), None)

    def _hold_adapter(self, adapter: int) -> int:
        """Use an adapter's slot; return 1 if it had to be loaded."""
        users = self._slots.get(adapter)
        if users is None:
            unused = self._slot_for(adapter)
            if unused is not None:
                self._slots.pop(unused, None)
            self.counts.adapter_loads += 1
        self._slots.pop(adapter, None)
        self._slots[adapter] = (users or 0) + 1  # behind all others: the most recently used
        return int(users is None)


@dataclass(frozen=True)
class EngineEvents:
    """What an engine tells the simulation."""

    schedule: Callable[[float, Callable[[], None]], None]
    first_token: Callable[[Request, float], None]
    finished: Callable[[Request, float], None]
