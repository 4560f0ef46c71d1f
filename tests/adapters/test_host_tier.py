"""The memory tier under random sequences of operations, against a list in order of use."""

from __future__ import annotations

import gc
import weakref

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from descant.adapters.host_tier import HostTier, num_bytes
from descant.model import LoraAdapter, LoraPair

UNIT = 2 * 8 * torch.float32.itemsize
CAPACITY = 6
NAMES = "abcdefgh"
SIZES = {name: 1 + index for index, name in enumerate(NAMES)}
"""From one unit to more than there is room for."""


def adapter(name: str, units: int) -> LoraAdapter:
    pair = LoraPair(torch.zeros(units, 8), torch.zeros(8, units), 1.0)
    return LoraAdapter(name, name, None, "start", None, 0, {(0, "q_proj"): pair})


class HostMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tier = HostTier(CAPACITY * UNIT)
        self.order: list[str] = []
        self.pinned: set[str] = set()
        self.evictions = 0

    def make_room(self) -> None:
        for name in [name for name in self.order if name not in self.pinned]:
            if sum(SIZES[n] for n in self.order) > CAPACITY:
                self.order.remove(name)
                self.evictions += 1

    @rule(name=st.sampled_from(NAMES))
    def put(self, name: str) -> None:
        given = adapter(name, SIZES[name])
        got = self.tier.put(given)
        assert got.content_hash == name
        if name in self.order:
            assert got is not given
            self.order.remove(name)
            self.order.append(name)
            return
        assert got is given
        beside = sum(SIZES[n] for n in self.order if n in self.pinned)
        if name in self.pinned or beside + SIZES[name] <= CAPACITY:
            self.order.append(name)
            self.make_room()

    @rule(name=st.sampled_from(NAMES))
    def get(self, name: str) -> None:
        got = self.tier.get(name)
        assert (got is not None) == (name in self.order)
        if got is not None:
            self.order.remove(name)
            self.order.append(name)

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        self.tier.drop(name)
        self.order = [n for n in self.order if n != name]

    @rule(names=st.sets(st.sampled_from(NAMES), max_size=3))
    def pin(self, names: set[str]) -> None:
        self.tier.set_pinned(names)
        self.pinned = names
        self.make_room()

    @invariant()
    def it_holds_what_the_list_says_and_no_more_than_fits(self) -> None:
        assert {name for name in NAMES if name in self.tier} == set(self.order)
        assert self.tier.num_bytes == UNIT * sum(SIZES[name] for name in self.order)
        assert self.tier.num_bytes == sum(self.tier.bytes_of(name) for name in NAMES)
        assert self.tier.evictions == self.evictions
        fits = self.tier.num_bytes <= self.tier.capacity_bytes
        assert fits or set(self.order) <= self.pinned


HostMachine.TestCase.settings = settings(max_examples=100, deadline=None)
TestHost = HostMachine.TestCase


def test_bytes_are_those_of_the_weights() -> None:
    assert num_bytes(adapter("a", 3)) == 3 * UNIT


def test_what_is_dropped_lives_as_long_as_somebody_holds_it() -> None:
    tier = HostTier(UNIT)
    held = tier.put(adapter("a", 1))
    alive = weakref.ref(held)
    tier.put(adapter("b", 1))
    assert "a" not in tier
    assert held.weights[0, "q_proj"].a.shape == (1, 8)
    del held
    gc.collect()
    assert alive() is None
