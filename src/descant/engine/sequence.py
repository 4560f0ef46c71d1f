"""A sequence: tokens on their way through the model, and where they stand."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


class FinishReason(enum.StrEnum):
    """Why a generation ended, in the wire's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen; temperature 0 is greedy."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()


@dataclass(eq=False)
class Sequence:
    """One run of tokens with its own blocks, perhaps behind a prefix it shares with others."""

    token_ids: list[int]
    """All of them, the shared prefix included; generation appends here."""
    adapter_hash: str | None = None
    activation: int = 0
    """The position from which the adapter applies."""
    salt: str = ""
    read_from: int | None = None
    """Hidden states are kept for this position and all later prompt positions; None keeps none."""
    sampling: SamplingParams | None = None
    generator: torch.Generator | None = None
    parent: Sequence | None = None
    """The sequence whose tokens are this one's shared prefix."""
    children: list[Sequence] = field(default_factory=list)
    """Forked when this one has been read."""

    blocks: list[int] = field(default_factory=list)
    """Own blocks, beginning at `num_shared`."""
    shared_blocks: tuple[int, ...] = ()
    num_shared: int = 0
    num_computed: int = 0
    num_run: int = 0
    """Tokens that went through the model for this sequence; cached ones did not."""
    num_prompt: int = 0
    keys: list[bytes] = field(default_factory=list)
    """Identities of the full blocks computed so far."""
    hidden: list[Float[Tensor, "_ E"]] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def __post_init__(self) -> None:
        self.num_prompt = len(self.token_ids)

    @property
    def num_remaining(self) -> int:
        """Tokens whose keys and values are not in the cache yet."""
        return len(self.token_ids) - self.num_computed

    @property
    def num_slots(self) -> int:
        """Places in the cache it will need in all, the shared prefix included."""
        return self.num_prompt + (self.sampling.max_tokens if self.sampling is not None else 0)

    @property
    def output_ids(self) -> list[int]:
        """What was generated so far."""
        return self.token_ids[self.num_prompt :]

    def adapter_at(self, position: int) -> str | None:
        """Return the content hash of the adapter active at a position."""
        return self.adapter_hash if position >= self.activation else None
