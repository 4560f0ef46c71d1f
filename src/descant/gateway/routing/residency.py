"""Which adapters an upstream holds: from what it was sent, and from what it says.

An engine's metrics name only adapters with requests under way at the moment of a poll. Between, it
keeps those it was asked for last, and so does the memory here: as many as the engine has slots, the
least recently asked go first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from descant.gateway.routing.metrics_text import Figures

ACTIVE = 1.0
FREE_SLOT = 0.8
LOADING = 0.6
FULL = 0.0


@dataclass(slots=True)
class _Slots:
    """The adapters of one upstream, least recently asked first."""

    size: int | None
    is_configured: bool
    adapters: dict[str, bool] = field(default_factory=dict)
    """Whether it has answered under the adapter yet."""
    base_models: frozenset[str] = frozenset()

    def touch(self, adapter: str, is_loaded: bool) -> None:
        was_loaded = self.adapters.pop(adapter, False)
        self.adapters[adapter] = was_loaded or is_loaded
        while self.size is not None and len(self.adapters) > self.size:
            del self.adapters[next(iter(self.adapters))]


class Residency:
    """The adapters of all upstreams that have slots; names are those the upstream uses."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slots] = {}

    def watch(self, upstream: str, slots: int | None) -> None:
        """Begin to follow an upstream, or go on; None: its metrics may say how many slots it has."""
        before = self._slots.get(upstream, _Slots(None, False))
        size = slots if slots is not None or before.is_configured else before.size
        after = _Slots(size, slots is not None, base_models=before.base_models)
        for adapter, is_loaded in before.adapters.items():
            after.touch(adapter, is_loaded)
        self._slots[upstream] = after

    def keep(self, upstreams: Iterable[str]) -> None:
        """Forget all upstreams but these."""
        self._slots = {name: self._slots[name] for name in upstreams if name in self._slots}

    def has_slots(self, upstream: str, model: str) -> bool:
        """Return whether this model takes a slot there: the base model takes none."""
        slots = self._slots.get(upstream)
        return slots is not None and slots.size is not None and model not in slots.base_models

    def sent(self, upstream: str, model: str) -> None:
        """Remember that an upstream was asked for an adapter."""
        if upstream in self._slots and self.has_slots(upstream, model):
            self._slots[upstream].touch(model, False)

    def answered(self, upstream: str, model: str) -> None:
        """Remember that it has it."""
        slots = self._slots.get(upstream)
        if slots is not None and model in slots.adapters:
            slots.adapters[model] = True

    def take(self, upstream: str, figures: Figures) -> None:
        """Take in what an upstream has just said of itself."""
        slots = self._slots.get(upstream)
        if slots is None:
            return
        slots.base_models = figures.base_models
        if not slots.is_configured and figures.adapter_slots is not None:
            slots.size = figures.adapter_slots
        if slots.size is None:
            return
        for adapter in sorted(figures.loading_adapters):
            slots.touch(adapter, False)
        for adapter in sorted(figures.active_adapters):
            slots.touch(adapter, True)

    def score(self, upstream: str, model: str) -> float:
        """Return how ready an upstream is for a model: 1 holds it, 0.8 free slot, 0.6 loading, 0 full."""
        slots = self._slots.get(upstream)
        if slots is None or slots.size is None or model in slots.base_models:
            return ACTIVE
        if model in slots.adapters:
            return ACTIVE if slots.adapters[model] else LOADING
        return FREE_SLOT if len(slots.adapters) < slots.size else FULL
