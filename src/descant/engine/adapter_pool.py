"""Active adapters by content hash: one stack of matrices a layer and site, a slot each."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Set

import torch
from jaxtyping import Float
from torch import Tensor

from descant.engine.low_rank_stack import LowRankStack, StackKind, choose_stack
from descant.engine.step_rows import StepRows
from descant.model import SITE_MODULES, LoraAdapter, ModelConfig, Site, fuse
from descant.schema import AdapterDtype


class AdapterPool:
    """Active adapters by content hash, each in a slot; bounded by the bytes of all slots.

    An adapter that somebody has acquired keeps its slot. The others stay where they are until their
    slot is needed, the longest unused one first. Room is made as it is needed, and every slot is as
    wide as the highest rank so far.
    """

    def __init__(
        self,
        config: ModelConfig,
        max_bytes: int,
        dtype: torch.dtype,
        device: torch.device,
        adapter_dtype: AdapterDtype = "model",
    ):
        self.config = config
        self.max_bytes = max_bytes
        self.num_activations = 0
        """How often an adapter was put into a slot."""
        self.num_evictions = 0
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._kind = choose_stack(config, dtype, device, adapter_dtype)
        self._active: OrderedDict[str, LoraAdapter] = OrderedDict()
        """The longest unused first."""
        self._slot_of: dict[str, int] = {}
        self._users: Counter[str] = Counter()
        self._capacity = 0
        self._rank = 0
        self._stacks: dict[tuple[int, Site], LowRankStack] = {}

    def __contains__(self, content_hash: str) -> bool:
        return content_hash in self._slot_of

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def num_bytes(self) -> int:
        """What the slots take."""
        return sum(stack.num_bytes for stack in self._stacks.values())

    @property
    def num_used(self) -> int:
        """Adapters somebody has acquired."""
        return len(self._users)

    def slot(self, content_hash: str) -> int:
        """Return the slot of an active adapter."""
        return self._slot_of[content_hash]

    def most_at_once(self, adapters: Iterable[LoraAdapter]) -> int:
        """Return how many adapters as wide as the widest of these fit beside each other."""
        rank = max((adapter.rank for adapter in adapters), default=1)
        return max(1, self.max_bytes // self._slot_bytes(max(rank, self._rank)))

    def acquire(self, adapters: Mapping[str, LoraAdapter]) -> bool:
        """Make these active for one more user each, all or none; return whether there was room."""
        missing = [adapter for key, adapter in adapters.items() if key not in self]
        if missing:
            self._widen(max(adapter.rank for adapter in missing))
            held = set(self._users) | {key for key in adapters if key in self}
            if len(held) + len(missing) > self.most_at_once(adapters.values()):
                return False
            for adapter in missing:
                self._place(adapter, held)
        for key in adapters:
            self._users[key] += 1
            self._active.move_to_end(key)
        return True

    def release(self, content_hashes: Iterable[str]) -> None:
        """Take back one user of each; without users an adapter may lose its slot."""
        for content_hash in content_hashes:
            self._users[content_hash] -= 1
            if not self._users[content_hash]:
                del self._users[content_hash]

    def scaled_rows(self, rows: StepRows) -> list[tuple[slice, LoraAdapter]]:
        """Return the rows of a step whose adapters scale outputs (DoRA), and these adapters."""
        scaling = {
            self._slot_of[key]: adapter
            for key, adapter in self._active.items()
            if adapter.output_scales
        }
        if not scaling:
            return []
        return [(own, scaling[slot]) for slot, own in rows.by_slot() if slot in scaling]

    def stack(self, layer: int, site: Site) -> LowRankStack | None:
        """Return the matrices at one layer and site; None where no adapter has ever had any."""
        return self._stacks.get((layer, site))

    def check_integrity(self) -> None:
        """Assert the invariants; for tests and for an idle engine."""
        slots = list(self._slot_of.values())
        assert len(set(slots)) == len(slots), "two adapters share a slot"
        assert all(slot < self._capacity for slot in slots), "a slot does not exist"
        assert self._slot_of.keys() == self._active.keys()
        assert self._users.keys() <= self._active.keys(), "a used adapter lost its slot"
        assert all(count > 0 for count in self._users.values())

    def _place(self, adapter: LoraAdapter, held: Set[str]) -> None:
        while len(self) >= self.most_at_once([adapter]):
            self._evict(next(key for key in self._active if key not in held))
        if len(self) == self._capacity:
            self._rebuild(min(self.most_at_once([adapter]), max(4, 2 * self._capacity)))
        taken = set(self._slot_of.values())
        slot = next(index for index in range(self._capacity) if index not in taken)
        self._slot_of[adapter.content_hash] = slot
        self._active[adapter.content_hash] = adapter
        self._fill(slot, adapter)
        self.num_activations += 1

    def _evict(self, content_hash: str) -> None:
        del self._slot_of[content_hash]
        del self._active[content_hash]
        self.num_evictions += 1

    def _widen(self, rank: int) -> None:
        if rank <= self._rank:
            return
        self._rank = self._kind.padded_rank(rank)
        most = self.most_at_once([])
        for key in [key for key in self._active if key not in self._users]:
            if len(self) > most:
                self._evict(key)
        if self._active:
            self._rebuild(max(len(self), min(self._capacity, most)))

    def _rebuild(self, capacity: int) -> None:
        self._capacity = capacity
        self._stacks = {}
        self._slot_of = {key: slot for slot, key in enumerate(self._slot_of)}
        for key, slot in self._slot_of.items():
            self._fill(slot, self._active[key])

    def _slot_bytes(self, rank: int) -> int:
        return _slot_bytes(self._kind, self.config, rank, self._like.dtype)

    def _fill(self, slot: int, adapter: LoraAdapter) -> None:
        for layer in range(self.config.num_layers):
            for site in SITE_MODULES:
                self._fill_site(slot, adapter, layer, site)

    def _fill_site(self, slot: int, adapter: LoraAdapter, layer: int, site: Site) -> None:
        has_site = any((layer, module) in adapter.weights for module in SITE_MODULES[site])
        stack = self._stacks.get((layer, site))
        if stack is None and not has_site:
            return
        if stack is None:
            stack = self._kind(self._capacity, self.config, site, self._rank, self._like)
            self._stacks[layer, site] = stack
        stack.put(slot, *fuse(adapter, layer, site, self.config, self._rank))


def bytes_per_adapter(
    config: ModelConfig,
    rank: int,
    dtype: torch.dtype,
    device: torch.device,
    adapter_dtype: AdapterDtype = "model",
) -> int:
    """Return what a slot for adapters up to this rank takes."""
    return _slot_bytes(choose_stack(config, dtype, device, adapter_dtype), config, rank, dtype)


def _slot_bytes(kind: StackKind, config: ModelConfig, rank: int, dtype: torch.dtype) -> int:
    sites = (kind.bytes_per_slot(config, site, rank, dtype) for site in SITE_MODULES)
    return config.num_layers * sum(sites)


class BatchedLora:
    """The low-rank updates of one step."""

    def __init__(self, pool: AdapterPool, rows: StepRows):
        self.pool = pool
        self.rows = rows
        self.scaled_rows = pool.scaled_rows(rows)

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Add each row's update to y, in place; rows without a slot keep y."""
        for rows, adapter in self.scaled_rows:
            scaled = adapter.output_scales.get((layer, site))
            if scaled is not None:
                y[rows] = scaled.apply(y[rows])
        stack = self.pool.stack(layer, site)
        if stack is not None:
            stack.apply(x, y, self.rows)
        return y
