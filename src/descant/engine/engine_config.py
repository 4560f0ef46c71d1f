"""The sizes of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from descant.schema import AdapterDtype, KvDtype, check_adapter_dtype, check_kv_dtype
from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    kv_cache_bytes: int = 1 << 30
    kv_dtype: KvDtype = "model"
    block_tokens: int = 16
    max_step_tokens: int = 4096
    """More read a long prompt quicker; fewer let others wait less beside it."""
    adapter_dtype: AdapterDtype = "model"
    """``int8`` halves what active adapters take and what a step reads of them."""
    adapter_bytes: int = 2 << 30
    """What the slots of active adapters may take; there is always one."""
    draft_tokens: int = 0
    """How many tokens of a greedy generation are guessed at a time from what it has said before;
    0 guesses none. What is generated does not change."""
    ageing_s: float = 30.0
    """A request waits at most this much longer for every level that its priority is lower."""

    def __post_init__(self) -> None:
        for name in ("kv_cache_bytes", "block_tokens", "max_step_tokens", "adapter_bytes"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        check_kv_dtype(self.kv_dtype)
        check_adapter_dtype(self.adapter_dtype)
        if self.draft_tokens < 0:
            raise InvalidConfig("draft_tokens must not be negative.", field="draft_tokens")
        if not self.ageing_s > 0:
            raise InvalidConfig("ageing_s must be greater than 0.", field="ageing_s")
