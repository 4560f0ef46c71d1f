"""Embeddings kept by text: of a batch only what is not known yet is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson

from descant.gateway.cache.lru import Bounds, CacheCounts, Lru
from descant.gateway.cache.partition import Identity, partition_key
from descant.gateway.call import Call, Usage


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """One request, and what of it is known: an embedding as JSON for each key."""

    body: Mapping[str, Any]
    keys: Sequence[bytes]
    """Of the inputs, in order; the same input twice has the same key twice."""
    inputs: Mapping[bytes, Any]
    """Each once, by key."""
    known: Mapping[bytes, bytes]
    missing: Mapping[bytes, Any]
    """The inputs to ask for, each once."""

    @property
    def is_known(self) -> bool:
        """Whether nothing has to be asked for."""
        return not self.missing

    def anew(self) -> EmbeddingBatch:
        """Return the batch as if nothing of it was known."""
        return replace(self, known={}, missing=self.inputs)

    def rest(self) -> dict[str, Any]:
        """Return the body to send upstream: the request with the missing inputs alone."""
        return {**self.body, "input": list(self.missing.values())}


class EmbeddingTier:
    """The embeddings of one worker; for one event loop."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]):
        self._vectors: Lru[bytes] = Lru(bounds, clock)

    @property
    def counts(self) -> CacheCounts:
        """What it has done so far, by input."""
        return self._vectors.counts

    @property
    def held_bytes(self) -> int:
        """What it takes now."""
        return self._vectors.held_bytes

    def split(self, call: Call, identity: Identity) -> EmbeddingBatch | None:
        """Look a request's inputs up; None where they are not what can be split."""
        inputs = _inputs(call.body.get("input"))
        if call.operation != "embeddings" or not inputs:
            return None
        fields = {name: value for name, value in call.body.items() if name != "input"}
        # All but the input is the same for the whole batch and hashed once.
        partition = partition_key(call, identity, fields)
        keys = [_key(partition, one) for one in inputs]
        by_key = dict(zip(keys, inputs, strict=True))
        found = {key: self._vectors.get(key) for key in by_key}
        known = {key: vector for key, vector in found.items() if vector is not None}
        missing = {key: one for key, one in by_key.items() if key not in known}
        return EmbeddingBatch(call.body, keys, by_key, known, missing)

    def merge(self, batch: EmbeddingBatch, answer: bytes, ttl_s: float) -> bytes | None:
        """Return the answer to the whole request, and keep what is new in it.

        `answer` is upstream's to `EmbeddingBatch.rest`; None where it does not fit what was asked,
        which is upstream's mistake. Its usage counts what was asked for, and so does the result's.
        """
        whole = _parsed(answer)
        vectors = _vectors(whole, len(batch.missing))
        if vectors is None:
            return None
        new = dict(zip(batch.missing, vectors, strict=True))
        for key, vector in new.items():
            self._vectors.put(key, vector, len(vector), ttl_s)
        return _joined(batch, {**batch.known, **new}, whole)

    def whole(self, batch: EmbeddingBatch) -> tuple[bytes, Usage]:
        """Return the answer to a request of which everything is known; nothing was used for it."""
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        about = {"object": "list", "model": batch.body.get("model"), "usage": usage}
        return _joined(batch, batch.known, about), Usage()


def _key(partition: bytes, one: Any) -> bytes:
    return blake2b(partition + orjson.dumps(one), digest_size=32).digest()


def _inputs(given: Any) -> list[Any] | None:
    """A text, texts, the token ids of one text, or those of several."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        return None
    if all(type(one) is int for one in given):
        return [given]
    is_batch = all(isinstance(one, str) for one in given) or all(
        isinstance(one, list) for one in given
    )
    return given if is_batch else None


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        whole = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return whole if isinstance(whole, dict) else {}


def _vectors(whole: Mapping[str, Any], count: int) -> list[bytes] | None:
    rows = whole.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    by_index = {row["index"]: row.get("embedding") for row in rows if type(row.get("index")) is int}
    if len(rows) != count or set(by_index) != set(range(count)):
        return None
    vectors = [by_index[index] for index in range(count)]
    if not all(isinstance(vector, list | str) and vector for vector in vectors):
        return None
    return [orjson.dumps(vector) for vector in vectors]


def _joined(
    batch: EmbeddingBatch, vectors: Mapping[bytes, bytes], about: Mapping[str, Any]
) -> bytes:
    rows = [
        {"object": "embedding", "index": index, "embedding": orjson.Fragment(vectors[key])}
        for index, key in enumerate(batch.keys)
    ]
    return orjson.dumps({**about, "data": rows})
