"""A trained adapter on its way to disk: as it is served, with its manifest beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from descant.model import (
    Activation,
    LoadedModel,
    LoraAdapter,
    LoraPair,
    Module,
    content_hash,
    save_adapter,
)
from descant.registry import MANIFEST_FILE, Manifest
from descant.schema import AdapterRef, Indicator, LabelledTranscript
from descant.training.lessons import Lessons


@dataclass(frozen=True)
class Origin:
    """What all adapters of one run have in common."""

    base_hash: str
    base_name: str
    data_hash: str
    recipe: Mapping[str, Any]
    created: str

    @classmethod
    def of(cls, lessons: Lessons, method: str, now: datetime) -> Origin:
        """Return the origin of what is trained on these lessons by a method."""
        recipe = {**lessons.settings.to_json(), "method": method}
        base = lessons.base
        return cls(base.base_hash, lessons.base_name, lessons.data_hash, recipe, now.isoformat())


def as_served(
    name: str,
    pairs: Mapping[tuple[int, Module], LoraPair],
    invocation: tuple[int, ...] | None,
    base: LoadedModel,
    reader: LoraAdapter | None = None,
) -> LoraAdapter:
    """Return a trained adapter; `invocation` is None where it acts from the first token on."""
    # Saved as it is served: in the base's type, so that the hash is that of the weights in use.
    dtype = base.model.dtype
    weights = {
        place: replace(pair, a=pair.a.to(dtype), b=pair.b.to(dtype))
        for place, pair in pairs.items()
    }
    identity = content_hash(weights, invocation, reader=reader)
    activation: Activation = "start" if invocation is None else "invocation"
    return LoraAdapter(
        name, identity, base.base_hash, activation, invocation, 0, weights, reader=reader
    )


def write_adapter(
    output: Path,
    adapter: LoraAdapter,
    indicator: Indicator,
    rows: Sequence[LabelledTranscript],
    origin: Origin,
    losses: Mapping[str, float | None],
) -> AdapterRef:
    """Write an adapter and its manifest as one folder under `output`.

    Raises:
        StorageFull: the disk is full; an older adapter in its place is untouched.
    """
    manifest = Manifest(
        base_hash=origin.base_hash,
        base_name=origin.base_name,
        data_hash=origin.data_hash,
        recipe=origin.recipe,
        indicator=stated(indicator),
        metrics={**losses, "train_labels": _label_counts(rows, indicator.name)},
        created=origin.created,
        content_hash=adapter.content_hash,
    )
    documents = {MANIFEST_FILE: asdict(manifest)}
    save_adapter(output / indicator.adapter, adapter, origin.base_name, documents)
    return AdapterRef(adapter.name, adapter.content_hash)


def stated(indicator: Indicator) -> dict[str, Any]:
    """Return an indicator as a manifest states it."""
    lists = ("labels", "positive", "auto_fail")
    fields = {key: value for key, value in asdict(indicator).items() if value is not None}
    return {key: list(value) if key in lists else value for key, value in fields.items()}


def _label_counts(rows: Sequence[LabelledTranscript], name: str) -> dict[str, int]:
    labels = (row.labels.get(name) for row in rows)
    return dict(Counter(label for label in labels if label is not None))
