"""Decides what each step computes, and gives sequences their blocks.

First come, first served, under a budget of tokens a step; a long prompt is read in chunks beside
the decodes of others. A sequence is admitted when the blocks for everything it will ever need,
its forks and its output included, are there; so nothing admitted can get stuck.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from descant.engine.batch import Scheduled
from descant.engine.kv_cache import BlockPool, block_key, root_key
from descant.engine.sequence import Sequence
from descant.schema.errors import OutOfBlocks


class Scheduler:
    """Waiting and running sequences, and the blocks they hold."""

    def __init__(self, blocks: BlockPool, block_tokens: int, max_step_tokens: int, base_hash: str):
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.max_step_tokens = max_step_tokens
        self.base_hash = base_hash
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def is_idle(self) -> bool:
        """True when no sequence is waiting or running."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            OutOfBlocks: it would not fit into an empty cache.
        """
        self.check(sequence)
        self.waiting.append(sequence)

    def check(self, sequence: Sequence) -> None:
        """Find out whether a sequence and its children would fit into an empty cache.

        Raises:
            OutOfBlocks: they would not.
        """
        needed = self._num_blocks_needed(sequence)
        if needed > self.blocks.num_blocks:
            raise OutOfBlocks(
                f"This request needs {needed} KV blocks and the cache has {self.blocks.num_blocks}.",
                field="kv_cache_bytes",
                remedy="Raise kv_cache_bytes, or send less text.",
            )

    def schedule(self) -> list[Scheduled]:
        """Return what the next step computes; empty only when idle."""
        self._admit()
        scheduled, budget = [], self.max_step_tokens
        for sequence in self.running:
            num_tokens = min(sequence.num_remaining, budget)
            if num_tokens:
                scheduled.append(Scheduled(sequence, num_tokens))
                budget -= num_tokens
        return scheduled

    def complete(self, scheduled: Iterable[Scheduled]) -> list[Sequence]:
        """Book a computed step; return the sequences that are now fully computed."""
        computed = []
        for item in scheduled:
            item.sequence.num_computed += item.num_tokens
            item.sequence.num_run += item.num_tokens
            self._publish(item.sequence)
            if not item.sequence.num_remaining:
                computed.append(item.sequence)
        return computed

    def fork(self, parent: Sequence) -> None:
        """Start the children of a sequence that has been read, and let go of the parent."""
        for child in parent.children:
            child.shared_blocks = tuple(parent.blocks)
            self.blocks.acquire(parent.blocks)
            child.num_computed = child.num_shared
        index = self.running.index(parent)
        self.running[index : index + 1] = parent.children
        self.blocks.release(parent.blocks)
        parent.blocks = []

    def finish(self, sequence: Sequence) -> None:
        """Let go of a running sequence and its blocks."""
        self.running.remove(sequence)
        self._release(sequence)

    def abort_all(self) -> None:
        """Drop every sequence and release every block."""
        for sequence in self.running:
            self._release(sequence)
            for child in sequence.children:
                self._release(child)
        self.running.clear()
        self.waiting.clear()

    def _release(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.blocks)
        self.blocks.release(sequence.shared_blocks)
        sequence.blocks, sequence.shared_blocks = [], ()

    def _admit(self) -> None:
        while self.waiting:
            sequence = self.waiting[0]
            found = self._find_prefix(sequence)
            self.blocks.acquire(found)
            missing = self._num_blocks_needed(sequence) - len(found)
            if missing > self.blocks.num_available:
                self.blocks.release(found)
                return
            self.waiting.popleft()
            self._place(sequence, found)
            self.running.append(sequence)
            if not sequence.num_remaining:
                self.fork(sequence)

    def _place(self, sequence: Sequence, found: list[int]) -> None:
        own = self._num_own_blocks(sequence)
        sequence.blocks = found + self.blocks.allocate(own - len(found))
        sequence.num_computed = len(found) * self.block_tokens
        for child in sequence.children:
            child.parent = sequence
            child.num_shared = len(sequence.token_ids)
            child.blocks = self.blocks.allocate(self._num_own_blocks(child))

    def _num_blocks_needed(self, sequence: Sequence) -> int:
        children = sum(
            self._ceil(child.num_slots - len(sequence.token_ids)) for child in sequence.children
        )
        return self._num_own_blocks(sequence) + children

    def _num_own_blocks(self, sequence: Sequence) -> int:
        return self._ceil(sequence.num_slots - sequence.num_shared)

    def _ceil(self, num_slots: int) -> int:
        return -(-num_slots // self.block_tokens)

    def _find_prefix(self, sequence: Sequence) -> list[int]:
        found: list[int] = []
        sequence.keys = []
        while len(found) < self._num_findable(sequence) // self.block_tokens:
            key = self._next_key(sequence)
            block = self.blocks.find(key)
            if block is None:
                break
            sequence.keys.append(key)
            found.append(block)
        return found

    def _num_findable(self, sequence: Sequence) -> int:
        # What somebody wants the hidden states of must be computed, cached or not.
        if sequence.sampling is not None:
            return len(sequence.token_ids) - 1
        if sequence.read_from is not None:
            return sequence.read_from
        return len(sequence.token_ids)

    def _publish(self, sequence: Sequence) -> None:
        if sequence.num_shared:
            return
        while len(sequence.keys) < sequence.num_computed // self.block_tokens:
            key = self._next_key(sequence)
            self.blocks.publish(sequence.blocks[len(sequence.keys)], key)
            sequence.keys.append(key)

    def _next_key(self, sequence: Sequence) -> bytes:
        parent = sequence.keys[-1] if sequence.keys else root_key(self.base_hash, sequence.salt)
        first = len(sequence.keys) * self.block_tokens
        span = range(first, first + self.block_tokens)
        return block_key(
            parent,
            sequence.token_ids[first : span.stop],
            [sequence.adapter_at(position) for position in span],
        )
