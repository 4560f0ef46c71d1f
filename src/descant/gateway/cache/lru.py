"""What was used last stays: a mapping bounded by bytes, entries and age."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import Field

Value = TypeVar("Value")

ENTRY_BYTES = 400
"""What Python needs for an entry beside its key and value; counted with every one."""


@dataclass(frozen=True)
class Bounds:
    """The most a cache may hold."""

    most_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    """Keys, values and `ENTRY_BYTES` for each entry."""
    most_entries: Annotated[int, Field(ge=1)] = 50_000


@dataclass(slots=True)
class CacheCounts:
    """What a cache has done so far."""

    hits: int = 0
    misses: int = 0
    """Expired ones among them."""
    expired: int = 0
    evicted: int = 0
    refused: int = 0
    """Values that are too large to be kept."""
    failed: int = 0
    """Trouble of the cache itself; the request went on without it."""


class _Entry(NamedTuple):
    value: object
    size_bytes: int
    until_s: float


class Lru(Generic[Value]):
    """Keeps what was used last; for one event loop."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]):
        self.counts = CacheCounts()
        self.held_bytes = 0
        self._bounds = bounds
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """How many entries there are, those that have expired unseen among them."""
        return len(self._entries)

    def get(self, key: bytes) -> Value | None:
        """Return what was put under the key, unless it is too old or had to make room."""
        entry = self._entries.get(key)
        if entry is not None and self._clock() >= entry.until_s:
            self.counts.expired += 1
            self.remove(key)
            entry = None
        if entry is None:
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        self._entries.move_to_end(key)
        value: Value = entry.value  # type: ignore[assignment]  # a named tuple cannot be generic here
        return value

    def put(self, key: bytes, value: Value, size_bytes: int, ttl_s: float) -> None:
        """Keep a value of so many bytes for so long; one that is too large is not kept."""
        self.remove(key)
        total_bytes = size_bytes + len(key) + ENTRY_BYTES
        if total_bytes > self._bounds.most_bytes:
            self.counts.refused += 1
            return
        self._entries[key] = _Entry(value, total_bytes, self._clock() + ttl_s)
        self.held_bytes += total_bytes
        self._make_room()

    def remove(self, key: bytes) -> None:
        """Forget the key, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry.size_bytes

    def _make_room(self) -> None:
        bounds = self._bounds
        while len(self._entries) > bounds.most_entries or self.held_bytes > bounds.most_bytes:
            _, entry = self._entries.popitem(last=False)
            self.held_bytes -= entry.size_bytes
            self.counts.evicted += 1
