"""Conversations that are almost the same text: found exactly, not by sampling.

A conversation is the set of its shingles, which are all runs of a few neighbouring words. Two are near
duplicates when the Jaccard similarity of their sets, shared over all, reaches a threshold; groups are
what hangs together by such pairs. Prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo,
Ma and Srikant, WWW 2007) spares nearly all pairs: with shingles in order of rarity, sets that are
similar enough share one of their first few. A rare shingle is in few conversations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from descant.data.words import PhraseArray, WordNumbers, phrases, words_of
from descant.schema import Transcript
from descant.schema.errors import InvalidConfig

IntArray = NDArray[np.int64]

_BATCH = 256
# 0.7 * 10 is 7.000000000000001 or so, and must not ask for 8.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NearDuplicateConfig:
    """What counts as almost the same.

    Raises:
        InvalidConfig: a shingle has no word, or the threshold is not above 0 and at most 1.
    """

    shingle_words: int = 3
    threshold: float = 0.7
    """Jaccard similarity; one changed word in a hundred leaves 0.94 with shingles of three."""

    def __post_init__(self) -> None:
        if self.shingle_words < 1:
            raise InvalidConfig("A shingle needs at least one word.", field="shingle_words")
        if not 0 < self.threshold <= 1:
            raise InvalidConfig("The threshold is not above 0 and at most 1.", field="threshold")


@dataclass(frozen=True)
class DuplicateGroup:
    """Conversations that hang together, each almost the same as another of them."""

    members: tuple[int, ...]
    """Their places in what was searched, in order."""
    ids: tuple[str, ...]
    similarity: float
    """Of the first to the most similar of the others."""


def find_near_duplicates(
    transcripts: Sequence[Transcript], config: NearDuplicateConfig | None = None
) -> tuple[DuplicateGroup, ...]:
    """Return all groups of two and more, in the order of their first members."""
    config = config or NearDuplicateConfig()
    sets = _shingle_sets(transcripts, config.shingle_words)
    group_of = _group_copies(sets)
    distinct = [at for at, group in enumerate(group_of) if at == group and len(sets[at])]
    join = _Join([sets[at] for at in distinct], config.threshold)
    for one, other in join.links():
        _merge(group_of, distinct[one], distinct[other])
    return tuple(_group(members, transcripts, sets) for members in _members(group_of))


def _shingle_sets(transcripts: Sequence[Transcript], length: int) -> list[PhraseArray]:
    numbers = WordNumbers()
    sets = []
    for transcript in transcripts:
        words = numbers.of(words_of(transcript))
        sets.append(np.unique(phrases(words, min(length, len(words)) or 1)))
    return sets


def _group_copies(sets: Sequence[PhraseArray]) -> IntArray:
    """Return for each set the first one that is equal; sets without shingles are equal to none."""
    first_of: dict[bytes, int] = {}
    return np.array(
        [
            first_of.setdefault(blake2b(shingles.tobytes()).digest(), at) if len(shingles) else at
            for at, shingles in enumerate(sets)
        ],
        np.int64,
    )


class _Join:
    """Finds the pairs that are similar enough, leaving out those that are linked already."""

    def __init__(self, sets: Sequence[PhraseArray], threshold: float):
        self._threshold = threshold
        self._sizes = np.array([len(shingles) for shingles in sets], np.int64)
        self._shared = _shared_shingles(sets)
        self._group_of = np.arange(len(sets))
        self._seen_in: defaultdict[int, list[int]] = defaultdict(list)

    def links(self) -> Iterator[tuple[int, int]]:
        """Yield pairs that tie every group together."""
        is_here = np.zeros(1 + max((ids[-1] for ids in self._shared if len(ids)), default=0), bool)
        # From small to large, so that whatever is compared later is not smaller.
        for one in np.lexsort((np.arange(len(self._sizes)), self._sizes)):
            rarest = self._rarest(one)
            candidates = self._candidates(one, rarest)
            is_here[self._shared[one]] = True
            while len(candidates):
                batch, candidates = candidates[:_BATCH], candidates[_BATCH:]
                for other in batch[self._similarities(one, batch, is_here) >= self._threshold]:
                    _merge(self._group_of, one, other)
                    yield int(one), int(other)
                candidates = candidates[self._group_of[candidates] != self._group_of[one]]
            is_here[self._shared[one]] = False
            for shingle in rarest:
                self._seen_in[shingle].append(int(one))

    def _rarest(self, one: int) -> list[int]:
        """Return the shingles of which similar sets have one in common, but those of `one` alone."""
        size, shared = int(self._sizes[one]), self._shared[one]
        needed = size - math.ceil(self._threshold * size - _ROUNDING) + 1
        alone = size - len(shared)
        return list(shared[: max(needed - alone, 0)].tolist())

    def _candidates(self, one: int, rarest: Sequence[int]) -> IntArray:
        found = {other for shingle in rarest for other in self._seen_in[shingle]}
        candidates = np.array(sorted(found), np.int64)
        is_large_enough = self._sizes[candidates] >= self._threshold * self._sizes[one] - _ROUNDING
        is_apart = self._group_of[candidates] != self._group_of[one]
        chosen: IntArray = candidates[is_large_enough & is_apart]
        return chosen

    def _similarities(
        self, one: int, others: IntArray, is_here: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        common = np.array([np.count_nonzero(is_here[self._shared[other]]) for other in others])
        similarities: NDArray[np.float64] = common / (
            self._sizes[one] + self._sizes[others] - common
        )
        return similarities


def _shared_shingles(sets: Sequence[PhraseArray]) -> list[IntArray]:
    """Return for each set its shingles that others have too, numbered from the rarest up."""
    everything = np.sort(np.concatenate(sets)) if sets else np.empty(0, np.uint64)
    starts = np.flatnonzero(np.append(True, everything[1:] != everything[:-1])[: len(everything)])
    counts = np.diff(np.append(starts, len(everything)))
    known, counts = everything[starts[counts > 1]], counts[counts > 1]
    rarity = np.empty(len(known), np.int64)
    rarity[np.argsort(counts, kind="stable")] = np.arange(len(known))
    return [_ranks(shingles, known, rarity) for shingles in sets]


def _ranks(shingles: PhraseArray, known: PhraseArray, rarity: IntArray) -> IntArray:
    at = np.searchsorted(known, shingles)
    is_known = np.append(known, np.uint64(0))[at] == shingles
    return np.sort(rarity[at[is_known]])


def _merge(group_of: IntArray, one: int, other: int) -> None:
    first, second = sorted((int(group_of[one]), int(group_of[other])))
    group_of[group_of == second] = first


def _members(group_of: IntArray) -> list[list[int]]:
    members: defaultdict[int, list[int]] = defaultdict(list)
    for at, group in enumerate(group_of.tolist()):
        members[group].append(at)
    return [group for group in members.values() if len(group) > 1]


def _group(
    members: Sequence[int], transcripts: Sequence[Transcript], sets: Sequence[PhraseArray]
) -> DuplicateGroup:
    first, *others = (sets[at] for at in members)
    return DuplicateGroup(
        members=tuple(members),
        ids=tuple(transcripts[at].id for at in members),
        similarity=max(_jaccard(first, other) for other in others),
    )


def _jaccard(one: PhraseArray, other: PhraseArray) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
