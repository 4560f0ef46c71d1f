"""What any teacher is: something that can be asked about conversations, one request at a time.

A teacher knows what to send and how to read what comes back; it sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from descant.schema import Indicator, Transcript


class Nonsense(Exception):
    """A reply that came back whole and is none; its text says what is wrong with it."""


class Refused(Exception):
    """The teacher did not answer this request and would not if it were sent again."""


@dataclass(frozen=True)
class Ask:
    """One request to a teacher."""

    transcript: Transcript
    indicators: tuple[Indicator, ...]
    """Those that the reply answers."""
    vote: int = 0
    """Which of several times that the same is asked."""


@dataclass(frozen=True)
class Opinion:
    """What a teacher said once about one indicator.

    Either `label` is set or `unanswered` says why not.
    """

    label: str | None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Over labels, summing to 1; empty where it gave none."""
    unanswered: str | None = None


class Teacher(Protocol):
    """Whoever gives labels."""

    @property
    def path(self) -> str:
        """Where requests go, behind the endpoint's address."""

    def asks(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> list[Ask]:
        """Return the requests that it takes to have all indicators answered."""

    def content(self, ask: Ask, /) -> Mapping[str, Any]:
        """Return all that an answer depends on; requests of equal content are sent once."""

    def bodies(self, ask: Ask, /) -> Sequence[dict[str, Any]]:
        """Return the JSON body of a request, and what to send instead if that is refused."""

    def took(self, ask: Ask, body: Mapping[str, Any], /) -> None:
        """Note that the server took this body: what is refused from now on is not its manner."""

    def most_tokens(self, ask: Ask, num_bytes: int, /) -> tuple[int, int]:
        """Return the most tokens that a body of this size can take: read and written."""

    def opinions(self, ask: Ask, document: Any, /) -> dict[str, Opinion]:
        """Return an opinion for each indicator of a request, out of the reply to it.

        Raises:
            Nonsense: the reply is not of the form it should have.
            Refused: the teacher says that it cannot answer this.
        """

    def output(self, document: Any, /) -> str | None:
        """Return what a reply says in words, to be kept; None where opinions say it all."""

    def used_tokens(self, document: Any, /) -> tuple[int, int] | None:
        """Return what a reply says it took, read and written; None where that cannot be believed."""


def count(value: object) -> int | None:
    """Return a number of tokens; None where it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None
