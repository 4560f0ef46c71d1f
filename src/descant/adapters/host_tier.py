"""Adapters in memory, as many as fit a number of bytes.

Known by content hash, so that two names for the same content hold it once. What is dropped here
stays valid for whoever holds it: nothing is freed before its last user is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set

from descant.model import LoraAdapter


class HostTier:
    """Keeps the adapters that were used last; pinned ones stay whatever they take.

    Not for several threads at once: the library holds its lock around every call.
    """

    def __init__(self, capacity_bytes: int):
        self.capacity_bytes = capacity_bytes
        self.num_bytes = 0
        self.evictions = 0
        """How many were dropped to make room."""
        self._adapters: OrderedDict[str, LoraAdapter] = OrderedDict()
        """By content hash, the one used last at the end."""
        self._bytes: dict[str, int] = {}
        self._pinned: Set[str] = frozenset()

    def __contains__(self, content_hash: str) -> bool:
        return content_hash in self._adapters

    def bytes_of(self, content_hash: str) -> int:
        """Return what an adapter takes here; 0 when it is not here."""
        return self._bytes.get(content_hash, 0)

    def get(self, content_hash: str) -> LoraAdapter | None:
        """Return an adapter and count it as used now; None when it is not here."""
        adapter = self._adapters.get(content_hash)
        if adapter is not None:
            self._adapters.move_to_end(content_hash)
        return adapter

    def put(self, adapter: LoraAdapter) -> LoraAdapter:
        """Keep an adapter if there is, or can be made, room for it beside the pinned ones.

        Returns the one to use: that of the same content which is already here, or the given one.
        """
        held = self.get(adapter.content_hash)
        if held is not None:
            return held
        size = num_bytes(adapter)
        is_pinned = adapter.content_hash in self._pinned
        if is_pinned or self._pinned_bytes() + size <= self.capacity_bytes:
            self._adapters[adapter.content_hash] = adapter
            self._bytes[adapter.content_hash] = size
            self.num_bytes += size
            self._make_room()
        return adapter

    def drop(self, content_hash: str) -> None:
        """Forget an adapter, if it is here."""
        if self._adapters.pop(content_hash, None) is not None:
            self.num_bytes -= self._bytes.pop(content_hash)

    def set_pinned(self, content_hashes: Set[str]) -> None:
        """Say which adapters may not be dropped, whether they are here yet or not."""
        self._pinned = frozenset(content_hashes)
        self._make_room()

    def _pinned_bytes(self) -> int:
        return sum(self.bytes_of(content_hash) for content_hash in self._pinned)

    def _make_room(self) -> None:
        oldest_first = [key for key in self._adapters if key not in self._pinned]
        for content_hash in oldest_first:
            if self.num_bytes <= self.capacity_bytes:
                return
            self.drop(content_hash)
            self.evictions += 1


def num_bytes(adapter: LoraAdapter) -> int:
    """Return the memory that an adapter's weights take."""
    pairs = sum(pair.a.nbytes + pair.b.nbytes for pair in adapter.weights.values())
    return pairs + sum(x.nbytes for scaled in adapter.output_scales.values() for x in scaled)
