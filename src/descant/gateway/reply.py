"""What a caller is answered, whole or as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal

from descant.gateway.call import Usage
from descant.gateway.watching import Part, Timings

CacheTier = Literal["exact", "embedding", "semantic"]
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"


CACHE = "cache"
"""What stands for an upstream where none was asked."""


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What is known of an answer before its first byte."""

    status: int
    upstream: str
    usage: Usage | None
    """Of a whole answer."""
    is_stream: bool


@dataclass(frozen=True, slots=True)
class WholeReply:
    """A whole answer, as OpenAI writes it."""

    status: int
    body: bytes
    usage: Usage | None
    upstream: str
    adapters: tuple[str, ...] = ()
    """Content hashes of the adapters that answered, where the upstream names them."""


@dataclass(frozen=True, slots=True)
class StreamedReply:
    """An answer whose first bytes are here; no other upstream can give it any more.

    Whoever has one reads `pieces` to the end or closes it: the upstream is held until then.
    """

    pieces: AsyncGenerator[bytes, None]
    upstream: str

    async def close(self) -> None:
        """Let go of the upstream."""
        await self.pieces.aclose()


@dataclass(slots=True)
class Tally:
    """What a request turned out to be; filled in while it is answered, read when it is over."""

    visited: list[str] = field(default_factory=list)
    """The upstreams that were asked, in order."""
    upstream: str | None = None
    usage: Usage | None = None
    adapters: tuple[str, ...] = ()
    first_byte_s: float | None = None
    """Monotonic: when the upstream began to answer."""
    cache: Literal["hit", "miss", "shared"] | None = None
    """What a look into the cache gave; None: nobody looked."""
    cache_tier: CacheTier = "exact"
    """Where that look ended."""
    age_s: float | None = None
    """Of an answer that was given before."""
    timings: Timings | None = None
    """Of the request itself; None of what goes on beside it."""
    is_cut: bool = False
    """A stream that did not end as it should."""
    money_nano: int | None = None
    """Where it is not what the usage costs at the upstream: of a cascade's stages together."""
    stages: tuple[str, ...] = ()
    """The models of a cascade that were asked."""
    shadow_model: str | None = None
    """Who is asked the same once the caller has been answered."""

    @property
    def attempts(self) -> int:
        """How often an upstream was asked."""
        return len(self.visited)

    def mark(self, part: Part) -> None:
        """Say what the time since the last mark was spent on."""
        if self.timings is not None:
            self.timings.mark(part)

    def cache_headers(self) -> list[tuple[bytes, bytes]]:
        """Return what a caller is told of the cache: nothing where nobody looked."""
        if self.cache is None:
            return []
        is_similar = self.cache == "hit" and self.cache_tier == "semantic"
        told = [(b"x-descant-cache", b"semantic" if is_similar else self.cache.encode())]
        return told if self.age_s is None else [*told, (b"age", b"%d" % self.age_s)]

    @property
    def is_cached(self) -> bool:
        """Whether no upstream was asked for this caller."""
        return self.upstream == CACHE

    def take(self, other: Tally) -> None:
        """Become what another one says."""
        self.visited, self.upstream, self.usage = other.visited, other.upstream, other.usage
        self.adapters, self.first_byte_s = other.adapters, other.first_byte_s
        self.is_cut, self.money_nano, self.stages = other.is_cut, other.money_nano, other.stages
        self.shadow_model = other.shadow_model


async def one_piece(content: bytes) -> AsyncGenerator[bytes, None]:
    """Yield all of it at once."""
    yield content
