from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import Bounds
from descant.gateway.cache.lru import ENTRY_BYTES, Lru
from tests.gateway.cache.calls import Clock

BOUNDS = Bounds(most_bytes=4 * ENTRY_BYTES + 60, most_entries=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 6)),
        st.tuples(
            st.just("put"), st.integers(0, 6), st.integers(0, 2 * ENTRY_BYTES), st.integers(1, 5)
        ),
        st.tuples(st.just("wait"), st.integers(1, 3)),
    ),
    max_size=60,
)


class SlowLru:
    """The same by lists: entries in order of use, the least recent first."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, int, int, float]] = []

    def get(self, key: bytes, now_s: float) -> int | None:
        for entry in list(self.entries):
            if entry[0] == key:
                self.entries.remove(entry)
                if now_s < entry[3]:
                    self.entries.append(entry)
                    return entry[1]
        return None

    def put(self, key: bytes, value: int, size_bytes: int, until_s: float) -> None:
        self.entries = [entry for entry in self.entries if entry[0] != key]
        total_bytes = size_bytes + len(key) + ENTRY_BYTES
        if total_bytes > BOUNDS.most_bytes:
            return
        self.entries.append((key, value, total_bytes, until_s))
        while len(self.entries) > BOUNDS.most_entries or self.held_bytes > BOUNDS.most_bytes:
            self.entries.pop(0)

    @property
    def held_bytes(self) -> int:
        return sum(entry[2] for entry in self.entries)


@given(STEPS)
def test_it_does_what_its_slow_twin_does(steps: list[tuple[str, int]]) -> None:
    clock, slow = Clock(), SlowLru()
    fast: Lru[int] = Lru(BOUNDS, clock)
    for number, (what, *arguments) in enumerate(steps):
        key = b"%d" % arguments[0]
        if what == "wait":
            clock.now_s += arguments[0]
        elif what == "get":
            assert fast.get(key) == slow.get(key, clock.now_s)
        else:
            fast.put(key, number, arguments[1], arguments[2])
            slow.put(key, number, arguments[1], clock.now_s + arguments[2])
        assert len(fast) == len(slow.entries) <= BOUNDS.most_entries
        assert fast.held_bytes == slow.held_bytes <= BOUNDS.most_bytes


def test_what_is_too_large_is_refused_and_its_forerunner_forgotten() -> None:
    cache: Lru[str] = Lru(BOUNDS, Clock())
    cache.put(b"a", "old", 10, 60)
    cache.put(b"a", "new", BOUNDS.most_bytes, 60)
    assert cache.get(b"a") is None
    assert cache.held_bytes == 0
    assert cache.counts.refused == 1


def test_it_counts_what_it_does() -> None:
    clock = Clock()
    cache: Lru[str] = Lru(Bounds(most_entries=1), clock)
    cache.put(b"a", "a", 1, 10)
    cache.put(b"b", "b", 1, 10)
    assert (cache.get(b"a"), cache.get(b"b")) == (None, "b")
    clock.now_s = 10
    assert cache.get(b"b") is None
    counts = cache.counts
    assert (counts.hits, counts.misses, counts.evicted, counts.expired) == (1, 2, 1, 1)
