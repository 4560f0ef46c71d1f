"""Resident adapters: one stack of matrices a layer and site, a slot each.

`AdapterPool` puts adapters in slots by content hash. `BatchedLora` applies them to a step whose
tokens are sorted by slot, one batched product per run of neighbouring slots: adapter weights are
never copied, least of all once per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from descant.model import SITE_MODULES, LoraAdapter, ModelConfig, Site, fuse
from descant.schema.errors import OutOfSlots


@dataclass(frozen=True)
class AdapterRun:
    """Neighbouring rows of a step under neighbouring slots, equally many rows a slot."""

    first_slot: int
    num_slots: int
    first_row: int
    rows_each: int

    @property
    def rows(self) -> slice:
        """The rows of the step it covers."""
        return slice(self.first_row, self.first_row + self.num_slots * self.rows_each)

    @property
    def slots(self) -> slice:
        """The slots it covers."""
        return slice(self.first_slot, self.first_slot + self.num_slots)


@dataclass(frozen=True)
class SiteStack:
    """Every resident adapter's matrices at one layer and site."""

    shrink: Float[Tensor, "A I K"]
    expand: Float[Tensor, "A K O"]


class AdapterPool:
    """Adapters by slot; room and rank grow as needed up to `max_adapters`."""

    def __init__(
        self, config: ModelConfig, max_adapters: int, dtype: torch.dtype, device: torch.device
    ):
        self.config = config
        self.max_adapters = max_adapters
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._adapters: dict[str, LoraAdapter] = {}
        self._slot_of: dict[str, int] = {}
        self._capacity = 0
        self._rank = 0
        self._stacks: dict[tuple[int, Site], SiteStack] = {}

    def __contains__(self, content_hash: str) -> bool:
        return content_hash in self._slot_of

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def num_bytes(self) -> int:
        """What the stacks take."""
        stacks = self._stacks.values()
        return sum(s.shrink.nbytes + s.expand.nbytes for s in stacks)

    def slot(self, content_hash: str) -> int:
        """Return the slot of a resident adapter."""
        return self._slot_of[content_hash]

    def get(self, content_hash: str) -> LoraAdapter:
        """Return a resident adapter."""
        return self._adapters[content_hash]

    def load(self, adapter: LoraAdapter) -> None:
        """Make an adapter resident; one with the same content hash is already there.

        Raises:
            OutOfSlots: `max_adapters` are resident.
        """
        if adapter.content_hash in self:
            return
        if len(self) >= self.max_adapters:
            raise OutOfSlots(
                f"All {self.max_adapters} adapter slots are taken.",
                remedy="Unload an adapter, or raise max_adapters.",
            )
        self._make_room(adapter.rank)
        taken = set(self._slot_of.values())
        slot = next(i for i in range(self._capacity) if i not in taken)
        self._slot_of[adapter.content_hash] = slot
        self._adapters[adapter.content_hash] = adapter
        self._fill(slot, adapter)

    def unload(self, content_hash: str) -> None:
        """Free an adapter's slot; its matrices are overwritten by the next one."""
        del self._slot_of[content_hash]
        del self._adapters[content_hash]

    def stack(self, layer: int, site: Site) -> SiteStack | None:
        """Return the matrices at one layer and site; None where no adapter has ever had any."""
        return self._stacks.get((layer, site))

    def _make_room(self, rank: int) -> None:
        if len(self) < self._capacity and rank <= self._rank:
            return
        if len(self) == self._capacity:
            self._capacity = min(self.max_adapters, max(4, 2 * self._capacity))
        self._rank = max(rank, self._rank)
        self._stacks = {}
        for content_hash, slot in self._slot_of.items():
            self._fill(slot, self._adapters[content_hash])

    def _fill(self, slot: int, adapter: LoraAdapter) -> None:
        for layer in range(self.config.num_layers):
            for site in SITE_MODULES:
                self._fill_site(slot, adapter, layer, site)

    def _fill_site(self, slot: int, adapter: LoraAdapter, layer: int, site: Site) -> None:
        has_site = any((layer, module) in adapter.weights for module in SITE_MODULES[site])
        stack = self._stacks.get((layer, site))
        if stack is None and not has_site:
            return
        shrink, expand = fuse(adapter, layer, site, self.config, self._rank)
        if stack is None:
            stack = SiteStack(
                self._like.new_zeros(self._capacity, *shrink.shape),
                self._like.new_zeros(self._capacity, *expand.shape),
            )
            self._stacks[layer, site] = stack
        stack.shrink[slot] = shrink
        stack.expand[slot] = expand


class BatchedLora:
    """The low-rank updates of one step.

    Semantics:
        y[t] += expand[a] @ shrink[a] @ x[t]   where a is the slot of token t; rows in no run keep y
    """

    def __init__(self, pool: AdapterPool, runs: Sequence[AdapterRun]):
        self.pool = pool
        self.runs = runs

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Add each run's update to y, in place."""
        stack = self.pool.stack(layer, site)
        if stack is None:
            return y
        for run in self.runs:
            rows = x[run.rows].view(run.num_slots, run.rows_each, -1)
            low_rank = torch.bmm(rows, stack.shrink[run.slots])
            out = y[run.rows].view(run.num_slots, run.rows_each, -1)
            out.baddbmm_(low_rank, stack.expand[run.slots])
        return y


def join_runs(runs: Sequence[AdapterRun]) -> list[AdapterRun]:
    """Merge runs that continue each other in rows and slots into longer ones."""
    joined: list[AdapterRun] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last is not None and _continues(last, run):
            joined[-1] = _extend(last, run)
        else:
            joined.append(run)
    return joined


def _continues(last: AdapterRun, run: AdapterRun) -> bool:
    if last.rows.stop != run.first_row:
        return False
    same_slot = last.num_slots == 1 and last.first_slot == run.first_slot
    next_slot = last.slots.stop == run.first_slot and last.rows_each == run.rows_each
    return same_slot or next_slot


def _extend(last: AdapterRun, run: AdapterRun) -> AdapterRun:
    if last.first_slot == run.first_slot:
        return replace(last, rows_each=last.rows_each + run.rows_each)
    return replace(last, num_slots=last.num_slots + run.num_slots)
