from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.affinity import EXCESS, ROOM, bound, homes, key_of

UPSTREAMS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
KEYS = st.integers(0, 2**64 - 1)


@given(KEYS, UPSTREAMS)
def test_every_upstream_has_a_place_and_the_order_they_are_listed_in_has_none(
    key: int, upstreams: list[str]
) -> None:
    order = homes(key, upstreams)
    assert sorted(order) == sorted(upstreams)
    assert homes(key, upstreams[::-1]) == order


@given(KEYS, UPSTREAMS, st.data())
def test_who_goes_moves_only_own_keys(key: int, upstreams: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(upstreams))
    left = [name for name in upstreams if name != gone]
    assert homes(key, left) == [name for name in homes(key, upstreams) if name != gone]


@given(KEYS, UPSTREAMS)
def test_who_comes_takes_keys_to_itself_only(key: int, upstreams: list[str]) -> None:
    before, after = homes(key, upstreams)[0], homes(key, [*upstreams, "new"])[0]
    assert after in (before, "new")


def test_keys_are_spread_evenly() -> None:
    upstreams = ["a", "b", "c", "d"]
    keys = [key_of(f"adapter-{number}".encode()) for number in range(4_000)]
    counts = Counter(homes(key, upstreams)[0] for key in keys)
    assert all(900 < counts[name] < 1_100 for name in upstreams)


def test_homes_are_the_same_in_every_process() -> None:
    assert homes(key_of(b"polite"), ["a", "b", "c", "d"]) == ["d", "b", "c", "a"]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=8), st.integers(0, 10_000))
def test_there_is_always_room_somewhere(weights: list[float], in_flight: int) -> None:
    bounds = [bound(in_flight, weight / sum(weights)) for weight in weights]
    assert sum(bounds) > in_flight


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_no_bound_is_above_its_share_and_the_excess(in_flight: int, upstreams: int) -> None:
    most = bound(in_flight, 1 / upstreams)
    assert most <= max(ROOM, (1 + EXCESS) * (in_flight + 1) / upstreams + 1)
