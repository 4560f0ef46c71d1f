"""What became of one attempt at one upstream, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import ClientPayloadError, ClientResponseError


class Outcome(Enum):
    """How an attempt ended.

    A caller who went away, or whose own deadline passed, says nothing of the upstream: that is no
    outcome, and the attempt's permit is released instead.
    """

    ANSWERED = "answered"
    CALLERS_ERROR = "callers_error"
    """The request itself is wrong, anywhere."""
    THROTTLED = "throttled"
    """429: asked too much."""
    KEY_REFUSED = "key_refused"
    """401, 402: the gateway's key, or the account behind it, is not accepted."""
    FORBIDDEN = "forbidden"
    """403: the key may not do this; some upstreams also say it of a request's content."""
    OVERLOADED = "overloaded"
    """503, 529."""
    FAILED = "failed"
    """Another 5xx, or no connection."""
    TIMED_OUT = "timed_out"
    """The upstream was silent for longer than its own limit."""
    GARBAGE = "garbage"
    """Not an answer in its dialect."""
    CUT = "cut"
    """The answer ended in the middle."""


_WITH_STATUS = {
    401: Outcome.KEY_REFUSED,
    402: Outcome.KEY_REFUSED,
    403: Outcome.FORBIDDEN,
    408: Outcome.TIMED_OUT,
    429: Outcome.THROTTLED,
    503: Outcome.OVERLOADED,
    504: Outcome.TIMED_OUT,
    529: Outcome.OVERLOADED,
}
_FINAL = frozenset({Outcome.ANSWERED, Outcome.CALLERS_ERROR})
_NOT_AGAIN_THERE = frozenset({Outcome.KEY_REFUSED, Outcome.FORBIDDEN, Outcome.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Reply:
    """What is known of an attempt that has ended."""

    outcome: Outcome
    status: int | None = None
    """None where no status came."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case, or a mapping that does not mind the case."""


def outcome_of_status(status: int) -> Outcome:
    """Return what a status means; a redirect is not an answer, for none is followed."""
    if (known := _WITH_STATUS.get(status)) is not None:
        return known
    if 200 <= status < 300:
        return Outcome.ANSWERED
    if 400 <= status < 500:
        return Outcome.CALLERS_ERROR
    return Outcome.FAILED if 500 <= status < 600 else Outcome.GARBAGE


def outcome_of_error(error: Exception) -> Outcome:
    """Return what an exception means that was raised while an upstream was asked or read."""
    if isinstance(error, TimeoutError):
        return Outcome.TIMED_OUT
    if isinstance(error, ClientPayloadError):
        return Outcome.CUT
    # The former is raised for a status line or headers that are not HTTP, the latter by parsers.
    if isinstance(error, ClientResponseError | ValueError):
        return Outcome.GARBAGE
    return Outcome.FAILED


def may_go_elsewhere(outcome: Outcome) -> bool:
    """Return whether another upstream may be asked, as long as the caller has seen no byte."""
    return outcome not in _FINAL


def may_come_again(outcome: Outcome) -> bool:
    """Return whether the same upstream may be asked again for the same request."""
    return outcome not in _FINAL and outcome not in _NOT_AGAIN_THERE
