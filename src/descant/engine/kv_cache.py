"""The paged KV cache: blocks, who holds them, and which finished ones can be found again.

`BlockPool` counts references and remembers full blocks by content; it holds numbers only. `KvCache`
holds the tensors. A block's identity is a hash over everything its values depend on (base weights,
the tokens up to and including the block, the content of the adapter active in it, the tenant's
salt), so two names for one content share, and one name for two contents cannot.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.engine.slot_vectors import VECTORS, SlotVectors, bytes_per_vector
from descant.model import Transformer
from descant.schema import AdapterDtype, KvDtype, Quantization
from descant.schema.errors import OutOfBlocks


def block_key(
    parent: bytes, token_ids: Sequence[int], adapter_hashes: Sequence[str | None]
) -> bytes:
    """Return the identity of one full block.

    `parent` is the key of the block before it (for the first one, a root made of the base weights'
    hash and the salt). `adapter_hashes` names the adapter content active at each token.
    """
    digest = hashlib.sha256(parent)
    digest.update(",".join(map(str, token_ids)).encode())
    digest.update("|".join(content or "" for content in adapter_hashes).encode())
    return digest.digest()


def identity(
    base_hash: str,
    quantization: Quantization | None,
    kv_dtype: KvDtype,
    adapter_dtype: AdapterDtype = "model",
) -> str:
    """Return what stands for the base weights in `root_key`: their hash and how they are used."""
    weights = "" if quantization is None else f" weights={quantization}"
    keys = "" if kv_dtype == "model" else f" kv={kv_dtype}"
    adapters = "" if adapter_dtype == "model" else f" adapters={adapter_dtype}"
    return base_hash + weights + keys + adapters


def root_key(base_hash: str, salt: str) -> bytes:
    """Return the key that stands before the first block of a sequence."""
    return hashlib.sha256(f"{base_hash}\n{salt}".encode()).digest()


class BlockPool:
    """Reference-counted blocks; released ones that were published stay findable until reused.

    Invariants, checked by `check_integrity`: every block is held, cached or free, exactly one of
    these; a key names at most one block.
    """

    def __init__(self, num_blocks: int):
        self.num_blocks = num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._references: Counter[int] = Counter()
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._block_of_key: dict[bytes, int] = {}
        self._key_of_block: dict[int, bytes] = {}

    @property
    def num_available(self) -> int:
        """Blocks that `allocate` could hand out now."""
        return len(self._free) + len(self._cached)

    @property
    def num_held(self) -> int:
        """Blocks somebody holds a reference to."""
        return len(self._references)

    def allocate(self, count: int) -> list[int]:
        """Hand out `count` blocks, forgetting the longest unused cached ones if need be.

        Raises:
            OutOfBlocks: fewer are available; nothing was handed out.
        """
        if count > self.num_available:
            raise OutOfBlocks(
                f"The KV cache has {self.num_available} blocks free and {count} are needed.",
                remedy="Try again when other requests have finished, or raise kv_cache_bytes.",
            )
        while len(self._free) < count:
            self._forget(next(iter(self._cached)))
        blocks = [self._free.pop() for _ in range(count)]
        self._references.update(blocks)
        return blocks

    def acquire(self, blocks: Iterable[int]) -> None:
        """Add one reference to each block."""
        for block in blocks:
            self._references[block] += 1
            self._cached.pop(block, None)

    def release(self, blocks: Iterable[int]) -> None:
        """Drop one reference from each block; the last one makes it cached or free."""
        for block in blocks:
            self._references[block] -= 1
            if self._references[block]:
                continue
            del self._references[block]
            if block in self._key_of_block:
                self._cached[block] = None
            else:
                self._free.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """Make a full, computed block findable; a key that is already known keeps its block."""
        if key not in self._block_of_key and block not in self._key_of_block:
            self._block_of_key[key] = block
            self._key_of_block[block] = key

    def find(self, key: bytes) -> int | None:
        """Return the block with this content, if it is still there."""
        return self._block_of_key.get(key)

    def check_integrity(self) -> None:
        """Assert the invariants; for tests and for an idle engine."""
        held, cached, free = set(self._references), set(self._cached), set(self._free)
        assert len(free) == len(self._free), "a block is free twice"
        assert not (held & cached or held & free or cached & free), "a block is in two states"
        assert held | cached | free == set(range(self.num_blocks)), "a block was lost"
        assert all(count > 0 for count in self._references.values()), "a count is not positive"
        assert {b: k for k, b in self._block_of_key.items()} == self._key_of_block
        assert cached <= set(self._key_of_block), "a cached block has no key"

    def _forget(self, block: int) -> None:
        del self._cached[block]
        del self._block_of_key[self._key_of_block.pop(block)]
        self._free.append(block)


class KvCache:
    """Keys and values of every block, one pair of `SlotVectors` a layer.

    A slot is one token's place: slot = block * block_tokens + offset.
    """

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        num_slots: int,
        dtype: torch.dtype,
        device: torch.device,
        kv_dtype: KvDtype = "model",
    ):
        def vectors() -> list[SlotVectors]:
            make = VECTORS[kv_dtype]
            return [
                make(num_kv_heads, num_slots, head_dim, dtype, device) for _ in range(num_layers)
            ]

        self._keys, self._values = vectors(), vectors()

    @classmethod
    def of(cls, model: Transformer, num_slots: int, kv_dtype: KvDtype) -> KvCache:
        """Allocate the cache of a model."""
        shape = model.config
        return cls(
            shape.num_layers,
            shape.num_kv_heads,
            shape.head_dim,
            num_slots,
            model.dtype,
            model.device,
            kv_dtype,
        )

    def write(
        self,
        layer: int,
        slots: Int[Tensor, " T"] | slice,
        k: Float[Tensor, "T G D"],
        v: Float[Tensor, "T G D"],
    ) -> tuple[Float[Tensor, "T G D"], Float[Tensor, "T G D"]]:
        """Store the keys and values of tokens at their slots; return them as they will be read."""
        return self._keys[layer].write(slots, k), self._values[layer].write(slots, v)

    def read(
        self, layer: int, slots: Int[Tensor, "N C"] | slice
    ) -> tuple[Float[Tensor, "N G C D"], Float[Tensor, "N G C D"]]:
        """Return keys and values at `slots`."""
        return self._keys[layer].read(slots), self._values[layer].read(slots)

    def pool(
        self, layer: int, slots: Int[Tensor, "N C"]
    ) -> tuple[Float[Tensor, "G S D"], Float[Tensor, "G S D"], Int[Tensor, "N C"]]:
        """Return keys and values with those at `slots` among them, and where they are in there."""
        keys, places = self._keys[layer].pool(slots)
        values, _ = self._values[layer].pool(slots)
        return keys, values, places


def num_blocks_in(max_bytes: int, block_tokens: int, model: Transformer, kv_dtype: KvDtype) -> int:
    """Return how many blocks of a model's keys and values fit; at least one."""
    shape = model.config
    per_slot = bytes_per_slot(
        shape.num_layers, shape.num_kv_heads, shape.head_dim, model.dtype, kv_dtype
    )
    return max(1, max_bytes // (per_slot * block_tokens))


def bytes_per_slot(
    num_layers: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    kv_dtype: KvDtype = "model",
) -> int:
    """Return what one token's keys and values take over all layers."""
    return 2 * num_layers * num_kv_heads * bytes_per_vector(head_dim, dtype, kv_dtype)
