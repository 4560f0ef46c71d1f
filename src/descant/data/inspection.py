"""What a file of labelled conversations holds, before anything is trained on it.

Figures only; whether they are a problem, a person decides. What may surprise in training is here:
labels that are rare or unknown, conversations that are very short or long, almost the same text twice,
the same text with different labels, words that give a label away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any

from descant.data.conflicts import Conflict, find_conflicts
from descant.data.label_balance import LabelBalance, label_balance, label_names
from descant.data.leak_words import LeakWord, find_leak_words
from descant.data.near_duplicates import DuplicateGroup, find_near_duplicates
from descant.data.words import words_of
from descant.schema import Indicator, LabelledTranscript


@dataclass(frozen=True)
class Lengths:
    """Words a conversation, without speakers."""

    shortest: int
    median: float
    p95: float
    longest: int


@dataclass(frozen=True)
class Inspection:
    """One file, and what it has in common with another one."""

    conversations: int
    lengths: Lengths
    balance: tuple[LabelBalance, ...]
    near_duplicates: tuple[DuplicateGroup, ...]
    """Groups within the file; if there is another file, those in both too. Members from
    `conversations` up are of the other file."""
    conflicts: tuple[Conflict, ...]
    leak_words: tuple[LeakWord, ...]
    against: int | None = None
    """Conversations of the other file."""
    common_ids: tuple[str, ...] = ()
    """Ids that are in both files."""

    @property
    def shared_groups(self) -> tuple[DuplicateGroup, ...]:
        """The groups of near duplicates with members in both files."""
        return tuple(
            group for group in self.near_duplicates if group.members[-1] >= self.conversations
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, texts and numbers."""
        return asdict(self)


def inspect_rows(
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator] | None = None,
    against: Sequence[LabelledTranscript] | None = None,
) -> Inspection:
    """Look a file over; without indicators, every name that has a label in it is one."""
    known = None if indicators is None else {one.name: one.labels for one in indicators}
    names = list(known) if known is not None else sorted(label_names(rows))
    transcripts = [row.transcript for row in (*rows, *(against or ()))]
    groups = [group for group in find_near_duplicates(transcripts) if group.members[0] < len(rows)]
    others = {row.transcript.id for row in against or ()}
    return Inspection(
        conversations=len(rows),
        lengths=_lengths(rows),
        balance=tuple(
            label_balance(rows, name, None if known is None else known[name]) for name in names
        ),
        near_duplicates=tuple(groups),
        conflicts=find_conflicts(rows, names),
        leak_words=find_leak_words(rows, names),
        against=None if against is None else len(against),
        common_ids=tuple(row.transcript.id for row in rows if row.transcript.id in others),
    )


def _lengths(rows: Sequence[LabelledTranscript]) -> Lengths:
    counts = sorted(len(words_of(row.transcript)) for row in rows)
    # quantiles() wants two values at least; one file may hold one conversation.
    cuts = quantiles(counts * 2 if len(counts) == 1 else counts, n=20, method="inclusive")
    return Lengths(counts[0], cuts[9], cuts[18], counts[-1])
