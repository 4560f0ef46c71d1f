"""A home for every key among the upstreams, and how full a home may be.

Rendezvous hashing: each upstream draws a number for the key, the highest is its home, the next one
stands in. An upstream that goes moves its own keys only; one that comes takes a share of each. The
draws are the same in every process, so workers that know nothing of each other agree. Bounded load:
Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil

_MASK = 2**64 - 1

EXCESS = 0.5
"""How far above its share of all requests in flight an upstream may be."""
ROOM = 8
"""Requests that any upstream may have in flight: so few are batched as fast as one."""


def key_of(content: bytes) -> int:
    """Return a key of 64 bits, the same in every process."""
    return int.from_bytes(blake2b(content, digest_size=8).digest())


def homes(key: int, upstreams: Sequence[str]) -> list[str]:
    """Return the upstreams in the order in which this key prefers them."""
    return sorted(upstreams, key=lambda name: _mixed(key ^ _seed(name)), reverse=True)


def bound(in_flight: float, share: float) -> int:
    """Return the most requests that an upstream may have in flight with the one that is now placed.

    `in_flight` counts those of all upstreams, `share` is this one's by weight. The bounds of all
    upstreams together are above `in_flight`, so one of them has room.
    """
    return max(ROOM, ceil((1 + EXCESS) * (in_flight + 1) * share))


@lru_cache(maxsize=1024)
def _seed(name: str) -> int:
    return key_of(name.encode())


def _mixed(value: int) -> int:
    """Return 64 bits of which each depends on all of `value` (the finalizer of splitmix64)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
