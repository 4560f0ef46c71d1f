"""Where an engine stands, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineStats:
    """Where the engine stands, for metrics; counts since it was made."""

    num_running: int
    num_waiting: int
    kv_blocks: int
    kv_blocks_held: int
    adapters_active: int
    adapters_used: int
    adapter_bytes: int
    adapter_activations: int
    adapter_evictions: int
    preemptions: int
    tokens_drafted: int
    tokens_draft_accepted: int
    tokens_computed: int
    prompt_tokens: int
    prompt_tokens_cached: int
