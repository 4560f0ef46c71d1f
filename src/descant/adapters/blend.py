"""A weighted sum of adapters as one adapter.

``sum_i w_i s_i B_i A_i`` is one low-rank product: the A's on top of each other, the B's side by
side, as PEFT's `add_weighted_adapter` does for ``combination_type="cat"``. Nothing is approximated;
the ranks add up.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from descant.model import LoraAdapter, LoraPair, Module
from descant.schema.errors import InvalidAdapter


@dataclass(frozen=True)
class Part:
    """One adapter of a blend."""

    adapter: LoraAdapter
    weight: float


class Blend:
    """What a weighted sum is made of; the order of the parts does not matter.

    Raises:
        InvalidAdapter: there are no parts, a weight is not a finite number, one is a DoRA adapter,
            or the parts act from different tokens on.
    """

    def __init__(self, parts: Sequence[Part]):
        _check(parts)
        self.parts = sorted(parts, key=lambda part: (part.adapter.content_hash, part.weight))

    @property
    def content_hash(self) -> str:
        """``sha256:…`` over the parts' hashes and weights."""
        recipe = [(part.adapter.content_hash, float(part.weight).hex()) for part in self.parts]
        return "sha256:" + hashlib.sha256(json.dumps(["blend", recipe]).encode()).hexdigest()

    def adapter(self, name: str) -> LoraAdapter:
        """Return the sum as one adapter.

        Raises:
            InvalidAdapter: a weight is so large that the sum is no longer finite.
        """
        first = self.parts[0].adapter
        places = sorted({place for part in self.parts for place in part.adapter.weights})
        bases = {part.adapter.base_hash for part in self.parts}
        return LoraAdapter(
            name=name,
            content_hash=self.content_hash,
            base_hash=first.base_hash if len(bases) == 1 else None,
            activation=first.activation,
            invocation_tokens=first.invocation_tokens,
            activation_delay=first.activation_delay,
            weights={place: self._pair(place) for place in places},
            reader=first.reader,
        )

    def _pair(self, place: tuple[int, Module]) -> LoraPair:
        parts = [part for part in self.parts if place in part.adapter.weights]
        pairs = [part.adapter.weights[place] for part in parts]
        # In B, rounded once: the engine folds a single adapter's scaling into B in the same way.
        scaled = [
            part.weight * pair.scaling * pair.b for part, pair in zip(parts, pairs, strict=True)
        ]
        b = torch.cat(scaled, dim=1)
        if not b.isfinite().all():
            raise InvalidAdapter("The weights make the sum infinite.", field="weights")
        return LoraPair(torch.cat([pair.a for pair in pairs]), b, 1.0)


def _check(parts: Sequence[Part]) -> None:
    if not parts:
        raise InvalidAdapter("A blend needs at least one adapter.", field="adapters")
    for part in parts:
        if not math.isfinite(part.weight):
            raise InvalidAdapter(
                f"The weight of {part.adapter.name!r} is {part.weight}, not a number.",
                field="weights",
            )
        if part.adapter.output_scales:
            raise InvalidAdapter(
                f"{part.adapter.name!r} is a DoRA adapter: it scales outputs, and a sum does not.",
                field="adapters",
                remedy="Blend adapters without magnitudes.",
            )
        if _rule(part.adapter) != _rule(parts[0].adapter):
            raise InvalidAdapter(
                f"{parts[0].adapter.name!r} and {part.adapter.name!r} act from different tokens on "
                f"or behind different readers, and cannot be one adapter.",
                field="adapters",
                remedy="Blend plain adapters, or activated ones with the same invocation and reader.",
            )


def _rule(adapter: LoraAdapter) -> tuple[object, ...]:
    reader = None if adapter.reader is None else adapter.reader.content_hash
    return adapter.activation, adapter.invocation_tokens, adapter.activation_delay, reader
