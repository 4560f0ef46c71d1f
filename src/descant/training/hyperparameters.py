"""Every number that decides what training produces, in one frozen record; all have defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from descant.model import SITE_MODULES, Module
from descant.schema.errors import InvalidConfig

ALL_MODULES: tuple[Module, ...] = tuple(
    module for modules in SITE_MODULES.values() for module in modules
)


_LISTS = ("target_modules", "search_rates")
_COUNTS = (
    "rank",
    "epochs",
    "min_steps",
    "patience_epochs",
    "batch_conversations",
    "conversations_at_once",
    "checkpoint_steps",
)


@dataclass(frozen=True)
class Hyperparameters:
    """How adapters are trained.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    rank: int = 16
    alpha: float = 32.0
    target_modules: tuple[Module, ...] = ALL_MODULES
    epochs: int = 3
    min_steps: int = 100
    """A question with few labelled conversations visits them more often, up to four times the
    epochs, until it has had this many steps."""
    patience_epochs: int = 2
    """Where there are conversations to judge by, an adapter that has not become better on them for
    so many epochs learns no more; of all its epochs the best one is kept."""
    batch_conversations: int = 8
    conversations_at_once: int = 8
    """A batch of more is computed in parts: less memory, the same step."""
    learning_rate: float = 5e-4
    search_rates: tuple[float, ...] = ()
    """Rates tried for an epoch each, where there are conversations to judge by: every adapter then
    learns at the one that was best for it."""
    label_smoothing: float = 0.0
    """Part of the target that is spread over all labels of the set."""
    warmup_share: float = 0.1
    """Part of all steps in which the learning rate rises; behind it, it falls as a cosine to 0."""
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    """Per adapter, so that no adapter's step depends on which others are trained beside it."""
    class_weight_power: float = 0.5
    """Rare labels weigh (1 / frequency) ** power; 0 weighs all alike."""
    distillation_temperature: float = 1.0
    """Where a teacher gave probabilities: above 1, its small ones count for more."""
    seed: int = 0
    checkpoint_steps: int = 100
    """A killed run loses at most this many steps."""
    reading_cache_bytes: int = 8 << 30
    """Readings up to this size are kept over epochs; the rest are read again."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        for name in ("alpha", "learning_rate", "max_gradient_norm", "distillation_temperature"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} must be greater than 0.", field=name)
        for name in ("weight_decay", "class_weight_power", "reading_cache_bytes", "seed"):
            if getattr(self, name) < 0:
                raise InvalidConfig(f"{name} must not be negative.", field=name)
        for name in ("warmup_share", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be in [0, 1).", field=name)
        if not all(rate > 0 for rate in self.search_rates):
            raise InvalidConfig("search_rates must all be greater than 0.", field="search_rates")
        self._check_modules()

    def _check_modules(self) -> None:
        unknown = [module for module in self.target_modules if module not in ALL_MODULES]
        if unknown or not self.target_modules:
            raise InvalidConfig(
                f"target_modules must name some of {', '.join(ALL_MODULES)}.",
                field="target_modules",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values, as written into manifests."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**asdict(self), **lists}
