"""Every number that decides what training produces, in one frozen record; all have defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from descant.model import SITE_MODULES, Module
from descant.schema.errors import InvalidConfig

ALL_MODULES: tuple[Module, ...] = tuple(
    module for modules in SITE_MODULES.values() for module in modules
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
    batch_conversations: int = 8
    learning_rate: float = 5e-4
    warmup_share: float = 0.1
    """Part of all steps in which the learning rate rises; behind it, it falls as a cosine to 0."""
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    """Per adapter, so that no adapter's step depends on which others are trained beside it."""
    class_weight_power: float = 0.5
    """Rare labels weigh (1 / frequency) ** power; 0 weighs all alike."""
    seed: int = 0
    checkpoint_steps: int = 100
    """A killed run loses at most this many steps."""
    reading_cache_bytes: int = 8 << 30
    """Readings up to this size are kept over epochs; the rest are read again."""

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "min_steps", "batch_conversations", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        for name in ("alpha", "learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} must be greater than 0.", field=name)
        for name in ("weight_decay", "class_weight_power", "reading_cache_bytes", "seed"):
            if getattr(self, name) < 0:
                raise InvalidConfig(f"{name} must not be negative.", field=name)
        if not 0 <= self.warmup_share < 1:
            raise InvalidConfig("warmup_share must be in [0, 1).", field="warmup_share")
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
        return {**asdict(self), "target_modules": list(self.target_modules)}
