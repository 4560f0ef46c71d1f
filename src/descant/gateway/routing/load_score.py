"""What speaks against each upstream for one call: how full it is, and what it would have to fetch.

Four terms are added up; the lowest sum is asked first:

- how full it is: requests there, over the most it may have (`affinity.bound`);
- strain: its queue or KV cache near their ends;
- the adapter it would have to load (`residency`);
- the prompt it would have to read (`prefix_index`).

A small fifth one sends what nobody has yet to its home (`affinity.homes`), so that adapters and
conversations spread instead of following the last bit of noise in the load. Upstreams above their
bound come after all others, whatever they hold: no affinity outweighs an engine that is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FULLNESS = 1.0
STRAIN = 1.0
ADAPTER = 1.0
PREFIX = 1.0
HOME = 0.1


@dataclass(frozen=True, slots=True)
class Standing:
    """One upstream as one call sees it."""

    in_flight: float
    bound: float
    concurrency: int | None
    """The most requests that its settings allow."""
    strain: float
    residency: float
    shared: float
    """The part of the prompt that it has read, 0 to 1."""
    home_rank: float
    """0 for the call's home, up to below 1 for the last that would stand in."""

    @property
    def fullness(self) -> int:
        """Return 0 if it has room, 1 if it would be above its bound, 2 if at what it may have at all."""
        if self.concurrency is not None and self.in_flight + 1 > self.concurrency:
            return 2
        return int(self.in_flight + 1 > self.bound)

    @property
    def score(self) -> float:
        """Return what speaks against it."""
        return (
            FULLNESS * self.in_flight / self.bound
            + STRAIN * self.strain
            + ADAPTER * (1 - self.residency)
            + PREFIX * (1 - self.shared)
            + HOME * self.home_rank
        )


def by_load(standings: Mapping[str, Standing]) -> list[str]:
    """Return the upstreams, the one with the least against it first."""
    return sorted(standings, key=lambda name: (standings[name].fullness, standings[name].score))
