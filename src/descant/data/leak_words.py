"""Words and short phrases that give a label away by themselves.

Such a word may be what the question is about, and then a bag of words does as well as any model; or it
is an accident of how the data was made, such as a note by whoever labelled it, and a model trained on it
learns the accident. Either way a person should look at it. Being rare is no guilt: a phrase is only
suspected when its precision is high beyond chance, with all phrases that were looked at counted in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from descant.data.words import PhraseArray, WordNumbers, phrases, words_of
from descant.schema import LabelledTranscript, Transcript
from descant.schema.errors import InvalidConfig

_Z = NormalDist().inv_cdf(0.975)
# For all phrases together (Bonferroni).
_MAX_CHANCE = 0.05


@dataclass(frozen=True)
class LeakWordConfig:
    """When a phrase is suspected.

    Raises:
        InvalidConfig: a phrase has no word, or a share is not between 0 and 1.
    """

    max_words: int = 3
    min_precision: float = 0.9
    """The lower end of the 95 % interval (Wilson) of how often the label is right given the phrase."""
    min_recall: float = 0.3
    """How many of the conversations with the label have the phrase."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise InvalidConfig("A phrase needs at least one word.", field="max_words")
        for name in ("min_precision", "min_recall"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidConfig(f"{name} is not between 0 and 1.", field=name)


@dataclass(frozen=True)
class LeakWord:
    """One suspect: who has this phrase nearly always has this label."""

    indicator: str
    label: str
    phrase: str
    """Words in small letters; a speaker's name ends in a colon."""
    precision: float
    precision_low: float
    """Lower end of the 95 % interval."""
    recall: float
    conversations: int
    """Labelled conversations that have the phrase."""
    base_rate: float
    """How often the label is right without knowing anything."""

    @property
    def f1(self) -> float:
        """Precision and recall in one figure; suspects are in its order."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def find_leak_words(
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[str],
    config: LeakWordConfig | None = None,
) -> tuple[LeakWord, ...]:
    """Return suspects by indicator and label, the best first.

    Of phrases that contain each other only the best is returned.
    """
    config = config or LeakWordConfig()
    columns = _Columns.of(rows, indicators)
    numbers = WordNumbers()
    found: list[_Suspect] = []
    num_tests = 0
    for length in range(1, config.max_words + 1):
        table = _PhraseTable.of(rows, numbers, length, _least_conversations(config))
        num_tests += len(table.phrases) * len(columns.names)
        found += _suspects(table, columns, config)
    certain = [suspect for suspect in found if suspect.chance * num_tests <= _MAX_CHANCE]
    words = [_leak_word(suspect, columns, rows, numbers) for suspect in certain]
    return tuple(word for name in columns.names for word in _best(words, *name))


class _Columns(NamedTuple):
    """Labels as a table, one column for each label of each indicator; ``N`` rows, ``C`` columns."""

    names: list[tuple[str, str]]
    has_label: NDArray[np.float64]
    """``[N, C]``: 1 where a row has the label."""
    is_labelled: NDArray[np.float64]
    """``[N, C]``: 1 where a row has any label of the indicator."""

    @classmethod
    def of(cls, rows: Sequence[LabelledTranscript], indicators: Sequence[str]) -> _Columns:
        names = sorted(
            {
                (name, label)
                for row in rows
                for name in indicators
                if (label := row.labels.get(name))
            },
            key=lambda name: (indicators.index(name[0]), name[1]),
        )
        labels = [[row.labels.get(name) for name, _ in names] for row in rows]
        wanted = [label for _, label in names]
        has_label = np.array([[a == b for a, b in zip(row, wanted, strict=True)] for row in labels])
        is_labelled = np.array([[label is not None for label in row] for row in labels])
        shape = (len(rows), len(names))
        return cls(names, has_label.reshape(shape) * 1.0, is_labelled.reshape(shape) * 1.0)


class _PhraseTable(NamedTuple):
    """Which rows have which phrases of one length; ``N`` rows, ``P`` phrases."""

    length: int
    phrases: PhraseArray
    """``[P]``, those that are in enough rows."""
    is_in: Any
    """Sparse ``[N, P]``."""

    @classmethod
    def of(
        cls, rows: Sequence[LabelledTranscript], numbers: WordNumbers, length: int, least: int
    ) -> _PhraseTable:
        # Takes most of a second to load, which only this search should cost.
        from scipy.sparse import csr_array

        sets = [np.unique(_numbered(row.transcript, numbers, length)[1]) for row in rows]
        everything = np.concatenate([np.empty(0, np.uint64), *sets])
        known, counts = np.unique(everything, return_counts=True)
        known = known[counts >= least]
        at = [np.flatnonzero(np.isin(known, one, assume_unique=True)) for one in sets]
        indices = np.concatenate([np.empty(0, np.int64), *at])
        ends = np.cumsum([0, *map(len, at)])
        table = csr_array((np.ones(len(indices)), indices, ends), shape=(len(rows), len(known)))
        return cls(length, known, table)


class _Suspect(NamedTuple):
    column: int
    length: int
    phrase: int
    row: int
    """A row that has the phrase."""
    hits: int
    total: int
    low: float
    chance: float
    """How likely at least as many hits are if the phrase has nothing to do with the label."""


def _suspects(table: _PhraseTable, columns: _Columns, config: LeakWordConfig) -> Iterator[_Suspect]:
    from scipy.stats import hypergeom

    hits = table.is_in.T @ columns.has_label
    totals = table.is_in.T @ columns.is_labelled
    with_label, labelled = columns.has_label.sum(axis=0), columns.is_labelled.sum(axis=0)
    low = _wilson_low(hits, totals)
    # Where nearly all have the label anyway, a suspect must leave half of the other cases out.
    needed = np.maximum(config.min_precision, (1 + with_label / labelled) / 2)
    for phrase, column in np.argwhere((low >= needed) & (hits >= config.min_recall * with_label)):
        hit, total = hits[phrase, column], totals[phrase, column]
        chance = hypergeom.sf(hit - 1, labelled[column], with_label[column], total)
        row = int(table.is_in[:, [phrase]].nonzero()[0][0])
        yield _Suspect(
            *(int(column), table.length, int(table.phrases[phrase]), row, int(hit), int(total)),
            *(float(low[phrase, column]), float(chance)),
        )


def _wilson_low(hits: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float64]:
    totals = np.maximum(totals, 1)
    share, spread = hits / totals, _Z * _Z / totals
    middle = share + spread / 2
    low: NDArray[np.float64] = middle - np.sqrt(spread * (share * (1 - share) + spread / 4))
    return low / (1 + spread)


def _least_conversations(config: LeakWordConfig) -> int:
    """Return in how many conversations a phrase must be to be precise enough if it is always right."""
    return math.ceil(_Z * _Z * config.min_precision / (1 - config.min_precision))


def _numbered(
    transcript: Transcript, numbers: WordNumbers, length: int
) -> tuple[list[str], PhraseArray]:
    words = words_of(transcript)
    if length == 1:
        words += [
            f"{name}:" for name in {turn.speaker.casefold(): None for turn in transcript.turns}
        ]
    return words, phrases(numbers.of(words), length)


def _leak_word(
    suspect: _Suspect, columns: _Columns, rows: Sequence[LabelledTranscript], numbers: WordNumbers
) -> LeakWord:
    words, found = _numbered(rows[suspect.row].transcript, numbers, suspect.length)
    start = int(np.flatnonzero(found == np.uint64(suspect.phrase))[0])
    with_label = columns.has_label[:, suspect.column].sum()
    indicator, label = columns.names[suspect.column]
    return LeakWord(
        indicator=indicator,
        label=label,
        phrase=" ".join(words[start : start + suspect.length]),
        precision=suspect.hits / suspect.total,
        precision_low=suspect.low,
        recall=float(suspect.hits / with_label),
        conversations=suspect.total,
        base_rate=float(with_label / columns.is_labelled[:, suspect.column].sum()),
    )


def _best(words: Sequence[LeakWord], indicator: str, label: str) -> list[LeakWord]:
    kept: list[LeakWord] = []
    mine = [word for word in words if (word.indicator, word.label) == (indicator, label)]
    # Of equals the longest says most: words that only ever come together.
    for word in sorted(mine, key=lambda word: (-word.f1, -len(word.phrase.split()), word.phrase)):
        if not any(_contain(word.phrase, other.phrase) for other in kept):
            kept.append(word)
    return kept


def _contain(one: str, other: str) -> bool:
    one, other = f" {one} ", f" {other} "
    return one in other or other in one
