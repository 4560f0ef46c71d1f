"""The block pool under random sequences of operations, against a plain model of who holds what."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from descant.engine.kv_cache import BlockPool, KvCache, block_key, root_key
from descant.schema.errors import OutOfBlocks


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(8)
        self.held: list[list[int]] = []
        self.content: dict[bytes, int] = {}
        self.next_key = 0

    @rule(count=st.integers(0, 9))
    def allocate(self, count: int) -> None:
        free = 8 - len({block for blocks in self.held for block in blocks})
        if count > free:
            with pytest.raises(OutOfBlocks, match="kv_cache_bytes"):
                self.pool.allocate(count)
            return
        blocks = self.pool.allocate(count)
        assert len(set(blocks)) == count
        assert not set(blocks) & {block for other in self.held for block in other}
        self.content = {k: b for k, b in self.content.items() if b not in blocks}
        self.held.append(blocks)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        blocks = data.draw(st.sampled_from(self.held))
        self.pool.acquire(blocks)
        self.held.append(list(blocks))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        self.pool.release(self.held.pop(index))

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from([b for blocks in self.held for b in blocks]))
        self.next_key += 1
        key = b"%d" % self.next_key
        self.pool.publish(block, key)
        if block not in self.content.values():
            self.content[key] = block

    @precondition(lambda self: self.content)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.content)))
        block = self.pool.find(key)
        assert block in (self.content[key], None)
        if block is None:
            del self.content[key]
        else:
            self.pool.acquire([block])
            self.held.append([block])

    @invariant()
    def nothing_is_lost(self) -> None:
        self.pool.check_integrity()
        counts = Counter(block for blocks in self.held for block in blocks)
        assert self.pool.num_held == len(counts)
        assert self.pool.num_available == 8 - len(counts)


PoolMachine.TestCase.settings = settings(max_examples=60, deadline=None)
TestPool = PoolMachine.TestCase


def test_the_longest_unused_block_is_forgotten_first() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(3)
    for block in blocks:
        pool.publish(block, b"%d" % block)
    pool.release([blocks[1]])
    pool.release([blocks[0]])
    pool.release([blocks[2]])
    assert pool.allocate(1) == [blocks[1]]
    assert pool.find(b"%d" % blocks[1]) is None
    assert pool.find(b"%d" % blocks[0]) == blocks[0]


def test_a_block_is_known_by_everything_its_values_depend_on() -> None:
    root = root_key("base", "")
    keys = {
        block_key(root, [1, 23], [None, None]),
        block_key(root, [12, 3], [None, None]),
        block_key(root, [1, 23], [None, "sha256:a"]),
        block_key(root, [1, 23], ["sha256:a", "sha256:a"]),
        block_key(root, [1, 23], ["sha256:b", "sha256:b"]),
        block_key(root_key("base", "tenant"), [1, 23], [None, None]),
        block_key(root_key("other base", ""), [1, 23], [None, None]),
        block_key(block_key(root, [1, 23], [None, None]), [1, 23], [None, None]),
    }
    assert len(keys) == 8


def test_the_cache_gives_back_what_was_written() -> None:
    cache = KvCache(1, 2, 4, 10, torch.float32, torch.device("cpu"))
    k, v = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    cache.write(0, torch.tensor([7, 2, 5]), k, v)
    keys, values = cache.read(0, torch.tensor([[2, 7], [5, 5]]))
    assert torch.equal(keys[0].transpose(0, 1), k[[1, 0]])
    assert torch.equal(values[1].transpose(0, 1), v[[2, 2]])
    neighbours, _ = cache.read(0, slice(2, 3))
    assert torch.equal(neighbours[0, :, 0], k[1])
