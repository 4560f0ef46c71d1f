"""What a caller is answered, whole or as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
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

    Whoever has one reads `pieces` to the end or closes it: the upstream is held until then. Pieces
    that hold anything are `begun`, for what was never begun gives nothing back when it is closed.
    """

    pieces: AsyncGenerator[bytes, None]
    upstream: str

    async def close(self) -> None:
        """Let go of the upstream."""
        await self.pieces.aclose()


AnyReply = WholeReply | StreamedReply


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
    lost: list[Tally] = field(default_factory=list)
    """Of second askings that came too late, or whose caller left."""
    waits_for: Callable[[], Awaitable[None]] | None = None
    """What has to be over before all of it is known."""

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
        self.take_answer(other)
        self.visited, self.lost = other.visited, other.lost
        self.money_nano, self.stages = other.money_nano, other.stages
        self.shadow_model = other.shadow_model

    def take_answer(self, other: Tally) -> None:
        """Take who answered, and with what; not who was asked."""
        self.upstream, self.usage, self.is_cut = other.upstream, other.usage, other.is_cut
        self.adapters, self.first_byte_s = other.adapters, other.first_byte_s

    async def complete(self) -> None:
        """Wait until all of it is known."""
        if self.waits_for is not None:
            await self.waits_for()


async def begun(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return pieces past their first, which is empty: from there on closing them is heard."""
    await anext(pieces)
    return pieces


async def one_piece(content: bytes) -> AsyncGenerator[bytes, None]:
    """Yield all of it at once."""
    yield content
