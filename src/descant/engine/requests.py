"""What can be asked of the engine, and what it says while it answers.

Requests carry their adapters themselves: as long as a request lives its weights live, whatever is
loaded, unloaded or renamed meanwhile.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from descant.engine.label_trie import LabelIds
from descant.model import LoraAdapter
from descant.schema import Constraint
from descant.schema.errors import DescantError, InvalidConfig


class FinishReason(enum.StrEnum):
    """Why a generation ended, in the wire's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen; temperature 0 is greedy.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    """Tokens below this part of the likeliest one's probability are left out."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    """Both are taken off the logits of generated tokens, once or once for every time."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of prompt and generated tokens."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    min_tokens: int = 0
    """No stop token is chosen before so many tokens."""
    num_logprobs: int | None = None
    """How many alternatives are reported with each token; 0 reports the token alone."""

    def __post_init__(self) -> None:
        checks = {
            "max_tokens": self.max_tokens >= 1,
            "temperature": 0 <= self.temperature < float("inf"),
            "top_k": self.top_k is None or self.top_k >= 1,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": 0 < self.repetition_penalty < float("inf"),
            "min_tokens": 0 <= self.min_tokens <= self.max_tokens,
        }
        for name, is_right in checks.items():
            if not is_right:
                raise InvalidConfig(f"{name} is out of range.", field=name)


@dataclass(frozen=True)
class GenerateRequest:
    """A prompt to continue."""

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    adapter: LoraAdapter | None = None
    salt: str = ""
    """Cached blocks are shared only between requests of equal salt."""
    priority: int = 0
    """Lower is sooner; waiting makes up for it, see `Scheduler`."""
    deadline_s: float | None = None
    """A time on the engine's clock at which the request is given up."""
    constraint: Constraint | None = None
    """What may be generated; a fresh state, used by this request alone."""


@dataclass(frozen=True)
class Tail:
    """One question behind a prefix: its tokens, its labels as token ids, its adapter."""

    token_ids: tuple[int, ...]
    labels: tuple[LabelIds, ...]
    adapter: LoraAdapter | None = None
    """None asks the base model."""


@dataclass(frozen=True)
class ScoreRequest:
    """One prefix and every question about it."""

    prefix_ids: tuple[int, ...]
    tails: tuple[Tail, ...]
    salt: str = ""
    priority: int = 0
    deadline_s: float | None = None


@dataclass(frozen=True)
class EmbedRequest:
    """A text to represent by the mean of the base model's last hidden states."""

    token_ids: tuple[int, ...]
    priority: int = 0
    deadline_s: float | None = None


Request = GenerateRequest | ScoreRequest | EmbedRequest


@dataclass(frozen=True)
class GenerateResult:
    """What was generated; a stop token is not part of it."""

    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    num_read: int
    """Prompt and output tokens that went through the model; the rest came from the cache."""
    num_cached: int
    """Prompt tokens that came from the cache."""


@dataclass(frozen=True)
class ScoreResult:
    """What the adapters said, and what it took."""

    log_probabilities: tuple[Float[Tensor, " labels"], ...]
    """One per tail, normalised over that tail's labels."""
    num_read: int
    """Tokens that went through the model."""
    num_shared: int
    """Tokens that would have gone through it too, had every tail read the prefix for itself."""


@dataclass(frozen=True)
class EmbedResult:
    """A vector of length 1."""

    vector: Float[Tensor, " E"]
    num_read: int


Result = GenerateResult | ScoreResult | EmbedResult


@dataclass(frozen=True)
class TokenEvent:
    """One more token of a generation."""

    job_id: int
    token_id: int
    logprob: float | None
    """Of this token before penalties, bias and temperature; None when not asked for."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and theirs."""
    num_cached: int = 0
    """Prompt tokens that came from the cache; whoever stops listening early knows it too."""


@dataclass(frozen=True)
class DoneEvent:
    """A job has its result."""

    job_id: int
    result: Result


@dataclass(frozen=True)
class FailedEvent:
    """A job ended without one."""

    job_id: int
    error: DescantError


Event = TokenEvent | DoneEvent | FailedEvent
