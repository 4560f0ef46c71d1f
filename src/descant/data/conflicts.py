"""The same conversation with different labels: one of them is wrong, or the question is not clear."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from descant.data.words import words_of
from descant.schema import LabelledTranscript


@dataclass(frozen=True)
class Conflict:
    """Conversations of the same words that got different labels for one indicator."""

    indicator: str
    ids: Mapping[str, tuple[str, ...]]
    """By label, in the order of the rows; those without a label are not in it."""


def find_conflicts(
    rows: Iterable[LabelledTranscript], indicators: Sequence[str]
) -> tuple[Conflict, ...]:
    """Return conflicts by indicator, then by first conversation; case and punctuation do not count.

    Conversations without any word are not compared.
    """
    same: defaultdict[bytes, list[LabelledTranscript]] = defaultdict(list)
    for row in rows:
        words = words_of(row.transcript)
        if words:
            same[_digest(words)].append(row)
    copies = [group for group in same.values() if len(group) > 1]
    found = (_conflict(group, indicator) for indicator in indicators for group in copies)
    return tuple(conflict for conflict in found if conflict is not None)


def _digest(words: Sequence[str]) -> bytes:
    # The texts themselves, kept a second time, would be most of the memory.
    return blake2b(" ".join(words).encode(errors="surrogatepass")).digest()


def _conflict(group: Sequence[LabelledTranscript], indicator: str) -> Conflict | None:
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for row in group:
        label = row.labels.get(indicator)
        if label is not None:
            ids[label].append(row.transcript.id)
    if len(ids) < 2:
        return None
    return Conflict(indicator, {label: tuple(found) for label, found in ids.items()})
