"""What a finder hands back: which characters of a conversation are one personal value.

Finders read the turns of one conversation and know nothing of each other; the redactor decides which
findings win and what is written in their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from descant.schema import Turn

Part = Literal["speaker", "text"]

PLACEHOLDER = re.compile(r"\[([A-Z][A-Z_]*)_([0-9]+)\]")
"""What stands where a value was: its kind and its number within the conversation."""


class Place(NamedTuple):
    """Some characters of one turn."""

    turn: int
    part: Part
    start: int
    end: int


@dataclass(frozen=True)
class Finding:
    """One value, wherever its parts are: a card read out in groups has several places."""

    kind: str
    value: str = field(repr=False)
    """The same for every way to write the value; never shown to anyone."""
    places: tuple[Place, ...]


class Finder(Protocol):
    """Looks for personal values of some kinds."""

    def find(self, turns: Sequence[Turn]) -> Iterable[Finding]:
        """Yield what there is, in any order; findings may overlap."""
        ...


def written_parts(turns: Sequence[Turn]) -> Iterator[tuple[int, Part, str]]:
    """Yield the number of each turn with its speaker, then with its text."""
    for at, turn in enumerate(turns):
        yield at, "speaker", turn.speaker
        yield at, "text", turn.text
