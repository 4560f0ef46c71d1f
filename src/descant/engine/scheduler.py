"""Decides what each step computes, and gives sequences their blocks and adapters.

Every step has a budget of tokens: first one token for each generation under way, then what is left
goes to readings and prompts, in chunks. Who is served first follows from one number, fixed on
arrival: the time of arrival, moved back by `ageing_s` for every level of priority. So a batch job
lets interactive ones pass, but none that come `ageing_s` after it: nothing starves.

A scoring is admitted when the blocks for all it will ever need are there, its forks included, and
always runs to its end. A generation is admitted with blocks for its prompt and takes more as it
grows. When there are none, the least urgent generation gives up its blocks and waits; later it is
read again from its tokens, most of which the cache still knows (preemption by recompute).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count

from descant.engine.adapter_pool import AdapterPool
from descant.engine.batch import Scheduled
from descant.engine.kv_cache import BlockPool, block_key, root_key
from descant.engine.sequence import Sequence
from descant.schema.errors import OutOfBlocks


class Scheduler:
    """Waiting and running sequences, and the blocks and adapters they hold."""

    def __init__(
        self,
        blocks: BlockPool,
        adapters: AdapterPool,
        block_tokens: int,
        max_step_tokens: int,
        base_hash: str,
        ageing_s: float = 30.0,
        draft_tokens: int = 0,
    ):
        self.blocks = blocks
        self.adapters = adapters
        self.block_tokens = block_tokens
        self.max_step_tokens = max_step_tokens
        self.base_hash = base_hash
        self.ageing_s = ageing_s
        self.draft_tokens = draft_tokens
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self._waiting: list[tuple[tuple[float, int], Sequence]] = []
        self._arrivals = count()

    @property
    def is_idle(self) -> bool:
        """True when no sequence is waiting or running."""
        return not self._waiting and not self.running

    @property
    def waiting(self) -> list[Sequence]:
        """The sequences that are not admitted, in no order."""
        return [sequence for _, sequence in self._waiting]

    def add(self, sequence: Sequence, arrival_s: float, priority: int) -> None:
        """Queue a sequence; a lower priority is served sooner.

        Raises:
            OutOfBlocks: it would not fit into an empty cache.
        """
        self.check(sequence)
        sequence.rank = (arrival_s + priority * self.ageing_s, next(self._arrivals))
        heappush(self._waiting, (sequence.rank, sequence))

    def check(self, sequence: Sequence) -> None:
        """Find out whether a sequence and its children would fit into an empty cache.

        Raises:
            OutOfBlocks: they would not.
        """
        needed = self._ceil(sequence.num_slots) + self._num_child_blocks(sequence)
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
        for sequence in sorted(self.running, key=_turn):
            num_tokens = min(sequence.num_remaining, budget)
            # One without blocks has just lost them to a more urgent one.
            if num_tokens and sequence.blocks and self._grow(sequence, num_tokens):
                draft = self._draft(sequence, budget - num_tokens) if num_tokens == 1 else ()
                scheduled.append(Scheduled(sequence, num_tokens + len(draft), draft))
                budget -= num_tokens + len(draft)
        return [item for item in scheduled if item.sequence.blocks]

    def complete(self, scheduled: Iterable[Scheduled]) -> list[Sequence]:
        """Book a computed step; return the sequences that are now fully computed."""
        computed = []
        for item in scheduled:
            item.sequence.num_computed += item.num_tokens - len(item.draft)
            item.sequence.num_run += item.num_tokens
            self._publish(item.sequence)
            if not item.sequence.num_remaining:
                computed.append(item.sequence)
        return computed

    def fork(self, parent: Sequence) -> None:
        """Start the children of a sequence that has been read, and let go of the parent."""
        for child in parent.children:
            child.rank = parent.rank
            child.shared_blocks = tuple(parent.blocks)
            self.blocks.acquire(parent.blocks)
            child.num_computed = child.num_shared
            child.num_cached = 0
            # Active already, since its parent holds it.
            assert self.adapters.acquire(child.adapters()), "a fork lost its adapter"
        index = self.running.index(parent)
        self.running[index : index + 1] = parent.children
        self._release(parent)

    def finish(self, sequence: Sequence) -> None:
        """Let go of a running sequence, its blocks and its adapter."""
        self.running.remove(sequence)
        self._release(sequence)

    def abort(self, sequences: Iterable[Sequence]) -> None:
        """Drop sequences and their children, whatever has become of them."""
        dropped = {id(s) for sequence in sequences for s in (sequence, *sequence.children)}
        for sequence in [s for s in self.running if id(s) in dropped]:
            for child in sequence.children:
                self.blocks.release(child.blocks)
                child.blocks = []
            self.finish(sequence)
        kept = [entry for entry in self._waiting if id(entry[1]) not in dropped]
        if len(kept) < len(self._waiting):
            # A sorted list is a heap.
            self._waiting = sorted(kept, key=lambda entry: entry[0])

    def _admit(self) -> None:
        while self._waiting:
            sequence = self._waiting[0][1]
            found = self._find_prefix(sequence)
            self.blocks.acquire(found)
            missing = self._num_needed_now(sequence) - len(found)
            if missing + self._num_reserved() > self.blocks.num_available or not (
                self.adapters.acquire(sequence.adapters())
            ):
                self.blocks.release(found)
                return
            heappop(self._waiting)
            self._place(sequence, found)
            self.running.append(sequence)
            if sequence.children and not sequence.num_remaining:
                self.fork(sequence)

    def _place(self, sequence: Sequence, found: list[int]) -> None:
        own = self._ceil(len(sequence.token_ids) - sequence.num_shared)
        sequence.blocks = found + self.blocks.allocate(own - len(found))
        sequence.num_computed = len(found) * self.block_tokens
        if sequence.num_cached is None:
            sequence.num_cached = sequence.num_computed
        for child in sequence.children:
            child.parent = sequence
            child.num_shared = len(sequence.token_ids)
            child.blocks = self.blocks.allocate(self._ceil(len(child.token_ids) - child.num_shared))

    def _num_needed_now(self, sequence: Sequence) -> int:
        return self._ceil(len(sequence.token_ids)) + self._num_child_blocks(sequence)

    def _num_child_blocks(self, sequence: Sequence) -> int:
        return sum(
            self._ceil(child.num_slots - len(sequence.token_ids)) for child in sequence.children
        )

    def _num_reserved(self) -> int:
        # A block for every generation under way, or the newcomer would soon be put out again.
        return sum(sequence.chooser is not None for sequence in self.running)

    def _grow(self, sequence: Sequence, num_tokens: int) -> bool:
        """Give a sequence the blocks for its next tokens; return whether it still runs."""
        stop = sequence.num_computed + num_tokens - sequence.num_shared
        missing = self._ceil(stop) - len(sequence.blocks)
        while missing > self.blocks.num_available:
            last = max((s for s in self.running if s.chooser), key=lambda s: s.rank)
            self._preempt(last)
            if last is sequence:
                return False
        sequence.blocks += self.blocks.allocate(max(0, missing))
        return True

    def _draft(self, sequence: Sequence, budget: int) -> tuple[int, ...]:
        """Return guesses to be tried beside a sequence's next token; nobody gives way for them."""
        if sequence.num_remaining != 1:
            return ()
        draft = sequence.draft(min(self.draft_tokens, budget))
        stop = sequence.num_computed + 1 + len(draft) - sequence.num_shared
        missing = max(0, self._ceil(stop) - len(sequence.blocks))
        if not draft or missing + self._num_reserved() > self.blocks.num_available:
            return ()
        sequence.blocks += self.blocks.allocate(missing)
        return draft

    def _preempt(self, sequence: Sequence) -> None:
        self.finish(sequence)
        sequence.num_computed = 0
        sequence.hidden.clear()
        heappush(self._waiting, (sequence.rank, sequence))
        self.num_preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.blocks)
        self.blocks.release(sequence.shared_blocks)
        sequence.blocks, sequence.shared_blocks = [], ()
        self.adapters.release(sequence.adapters())

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
        if sequence.chooser is not None:
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


def _turn(sequence: Sequence) -> tuple[bool, tuple[float, int]]:
    """Generations under way come first: one token each, and somebody waits for it."""
    is_decoding = sequence.chooser is not None and sequence.num_remaining == 1
    return not is_decoding, sequence.rank
