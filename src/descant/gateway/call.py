"""One request on its way through the gateway, and what it turned out to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

Operation = Literal["chat", "completions", "embeddings", "scores"]

PATHS: Mapping[str, Operation] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/scores": "scores",
}
"""Where each operation is asked for, here and at upstreams that speak OpenAI's dialect."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a key."""

    key: str
    """The key's name, never its secret."""
    tenant: str
    models: tuple[str, ...] = ("*",)
    """Names and globs of models and adapters that are open to it."""
    priority: int = 0
    """Lower goes first where there is not room for all."""
    is_admin: bool = False
    """Whether it may see how the gateway stands."""

    def may_use(self, model: str) -> bool:
        """Return whether this model or adapter is open to the caller."""
        return any(fnmatchcase(model, glob) for glob in self.models)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answered request; `cached_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Read and written together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        """Return what both took."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked; seconds are those of the process's monotonic clock."""

    id: str
    operation: Operation
    model: str
    """As the caller names it."""
    body: Mapping[str, Any]
    """The parsed request."""
    raw: bytes
    """The request as it was sent."""
    caller: Caller
    prompt_tokens: int
    """Estimated."""
    max_tokens: int
    """The most it lets be written, all choices together."""
    is_stream: bool
    received_s: float
    deadline_s: float
    """When the caller no longer waits."""
    prompt: str = ""
    """Name, version and hash of the template that its messages begin with."""

    @property
    def most_tokens(self) -> int:
        """What is set aside for it."""
        return self.prompt_tokens + self.max_tokens
