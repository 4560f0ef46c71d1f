"""A sequence: tokens on their way through the model, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from descant.engine.ngram import NgramDrafter
from descant.engine.requests import FinishReason
from descant.engine.sampler import TokenChooser
from descant.model import LoraAdapter


@dataclass(eq=False)
class Sequence:
    """One run of tokens with its own blocks, perhaps behind a prefix it shares with others."""

    token_ids: list[int]
    """All of them, the shared prefix included; generation appends here."""
    adapter: LoraAdapter | None = None
    activation: int = 0
    """The position from which the adapter applies."""
    salt: str = ""
    job_id: int | None = None
    """The request it belongs to."""
    rank: tuple[float, int] = (0.0, 0)
    """Which sequence is served first: a time that priority moves, and the order of arrival."""
    read_from: int | None = None
    """Hidden states are kept for this position and all later prompt positions; None keeps none."""
    chooser: TokenChooser | None = None
    """Chooses the tokens of a generation; None: nothing is generated."""
    drafter: NgramDrafter | None = None
    """Guesses them beforehand; None: nothing is guessed."""
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
    num_cached: int | None = None
    """Prompt tokens found in the cache when the sequence first ran; None before."""
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
        return self.num_prompt + (self.chooser.max_tokens if self.chooser is not None else 0)

    def draft(self, most: int) -> tuple[int, ...]:
        """Return guesses of what comes behind the next token, never more than may be generated."""
        if self.drafter is None or self.chooser is None:
            return ()
        room = self.chooser.max_tokens - len(self.output_ids) - 1
        return self.drafter.propose(self.token_ids, min(most, room)) if room > 0 else ()

    @property
    def output_ids(self) -> list[int]:
        """What was generated so far."""
        return self.token_ids[self.num_prompt :]

    @property
    def adapter_hash(self) -> str | None:
        """The content hash of its adapter."""
        return None if self.adapter is None else self.adapter.content_hash

    @property
    def reader_hash(self) -> str | None:
        """The content hash of what reads before its adapter acts."""
        reader = None if self.adapter is None else self.adapter.reader
        return None if reader is None else reader.content_hash

    def adapter_at(self, position: int) -> str | None:
        """Return the content hash of the adapter active at a position."""
        return self.adapter_hash if position >= self.activation else self.reader_hash

    def adapters(self) -> dict[str, LoraAdapter]:
        """Return, by content hash, what must be active while it and its children run."""
        found = {}
        for sequence in (self, *self.children):
            for adapter in _with_reader(sequence.adapter):
                found[adapter.content_hash] = adapter
        return found


def _with_reader(adapter: LoraAdapter | None) -> list[LoraAdapter]:
    if adapter is None:
        return []
    return [adapter] if adapter.reader is None else [adapter.reader, adapter]
