"""What the core asks of an upstream's dialect, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from descant.gateway.call import Call, Usage

FailureReason = Literal["stated", "garbled", "cut"]


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request as an upstream wants it; nothing of the caller's own headers is in it."""

    method: str
    path: str
    """With the address's own path before it and the query after it, percent-encoded."""
    headers: dict[str, str] = field(repr=False)
    """All of them but those of the connection and the ones that the core adds (request id, trace)."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer as OpenAI writes it."""

    body: bytes
    usage: Usage | None
    """None where the upstream does not say, or says what cannot be."""
    adapters: tuple[str, ...] = ()
    """Content hashes of the adapters that answered, where a Descant server names them."""


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """Why a stream is no whole answer."""

    reason: FailureReason
    """The upstream said so in the stream; what came is no event; it ended too soon."""
    status: int
    """What it would have been as an answer of its own: 429, 503, 529, 502 …"""
    code: str
    message: str
    """For the caller: no address and no secret of the upstream is in it."""


class StreamReader(Protocol):
    """Reads one streamed answer; in any pieces the same bytes go on and the same usage is read."""

    @property
    def usage(self) -> Usage | None:
        """What the stream has said so far of its usage."""

    @property
    def is_complete(self) -> bool:
        """Whether the upstream has said that this was all."""

    @property
    def failure(self) -> StreamFailure | None:
        """What went wrong; before any bytes were sent on, another upstream may be asked."""

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes to send on now: whole events only, none after a failure."""

    def end(self) -> bytes:
        """Return the last bytes, once the upstream closed: an error event where it had failed."""


class Dialect(Protocol):
    """How one upstream is asked, and how what it says is read."""

    def request(self, call: Call, model: str) -> UpstreamRequest:
        """Return the request to send, `model` being its name there.

        Raises:
            UnsupportedField: the upstream has no words for a field of the call.
            InputError: a field of the call is not what OpenAI's API says.
        """

    def answer(self, call: Call, body: bytes) -> Answered:
        """Return a whole answer with status 200, the very same bytes where it is OpenAI's already.

        Raises:
            GarbledAnswer: it is no answer to what was asked.
        """

    def stream(self, call: Call) -> StreamReader:
        """Return a reader for a streamed answer with status 200."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return any other answer as OpenAI's error body, without the upstream's secrets."""
