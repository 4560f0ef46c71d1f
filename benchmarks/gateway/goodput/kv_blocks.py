"""An engine's KV cache: blocks in use, and blocks kept for whoever begins alike.

As in vLLM: a block is found again if it and all before it were read under the same adapter; blocks
that nobody uses stay until their room is needed, the longest unused first, a prompt's end before its
beginning. Blocks here have 128 tokens (vLLM: 16), which costs every policy up to 127 tokens more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 128


class KvBlocks:
    """A fixed number of blocks; a block's number says what is in it."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._users: dict[int, int] = {}
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._readable: set[int] = set()

    @property
    def num_used(self) -> int:
        """Return the blocks of running requests."""
        return len(self._users)

    def found(self, chain: Sequence[int]) -> int:
        """Return how many blocks of a chain, from its beginning, have been read."""
        for place, block in enumerate(chain):
            if block not in self._readable:
                return place
        return len(chain)

    def take(self, chain: Sequence[int]) -> bool:
        """Hold all blocks of a chain; False, and nothing is held, where there is no room."""
        new = sum(block not in self._users for block in chain)
        if len(self._users) + new > self.capacity:
            return False
        for block in chain:
            self._users[block] = self._users.get(block, 0) + 1
            self._kept.pop(block, None)
        while len(self._users) + len(self._kept) > self.capacity:
            oldest, _ = self._kept.popitem(last=False)
            self._readable.discard(oldest)
        return True

    def fill(self, chain: Sequence[int]) -> None:
        """Mark blocks as read."""
        self._readable.update(chain)

    def release(self, chain: Sequence[int]) -> None:
        """Let go of a chain; what was read of it is kept."""
        for block in reversed(chain):
            self._users[block] -= 1
            if not self._users[block]:
                del self._users[block]
                if block in self._readable:
                    self._kept[block] = None
