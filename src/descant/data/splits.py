"""Train, dev or test: decided by the id of a conversation alone.

Neither the order of the rows nor what else is in the data changes where a conversation goes, so data
may grow without a test conversation ever moving into training. Only conversations that are said to
belong together look at each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from descant.schema import LabelledTranscript
from descant.schema.errors import InvalidConfig

Split = Literal["train", "dev", "test"]

_STRICTNESS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True)
class Fractions:
    """The share of each split; they add up to 1.

    Raises:
        InvalidConfig: one is negative, or they do not add up to 1.
    """

    train: float = 0.8
    dev: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.train, self.dev, self.test)
        if not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1.0):
            raise InvalidConfig(
                f"Fractions {shares} are not shares of a whole.",
                field="fractions",
                remedy="Give three numbers, none negative, that add up to 1.",
            )


def split_of(transcript_id: str, fractions: Fractions, seed: int = 0) -> Split:
    """Return the split of a conversation; another seed deals all of them anew."""
    digest = hashlib.sha256(
        f"descant-split:{seed}:{transcript_id}".encode(errors="surrogatepass")
    ).digest()
    point = int.from_bytes(digest[:6]) / 2**48
    if point < fractions.train:
        return "train"
    # Counted from the end, so that a test share of 0 is exactly none.
    return "test" if point >= 1.0 - fractions.test else "dev"


def split_rows(
    rows: Iterable[LabelledTranscript],
    fractions: Fractions,
    seed: int = 0,
    together: Iterable[Collection[str]] = (),
) -> dict[Split, list[LabelledTranscript]]:
    """Deal rows into the three splits, in their order; ids that belong together go to one split.

    `together` holds groups of ids, such as near duplicates. A group goes where the strictest of its
    members would go alone: test before dev before train. So the promise above gets weaker, in one
    direction only: when data grows, a conversation may move from train to dev or test because a
    newcomer resembles it, and never the other way, as long as groups only grow. The price is that test
    and dev get more than their share of grouped conversations, and large groups nearly always end in
    test; of true copies, better keep one.
    """
    leader = _leaders(together)
    dealt = [(row, split_of(row.transcript.id, fractions, seed)) for row in rows]
    strictest: dict[str, Split] = {}
    for row, split in dealt:
        group = leader.get(row.transcript.id, row.transcript.id)
        strictest[group] = max(strictest.get(group, split), split, key=_STRICTNESS.index)
    splits: dict[Split, list[LabelledTranscript]] = {"train": [], "dev": [], "test": []}
    for row, _ in dealt:
        splits[strictest[leader.get(row.transcript.id, row.transcript.id)]].append(row)
    return splits


def _leaders(together: Iterable[Collection[str]]) -> dict[str, str]:
    """Return one id for each group, by member; groups with a common member are one group."""
    leader: dict[str, str] = {}
    for group in together:
        merged = set(group)
        known = {leader[name] for name in merged if name in leader}
        if known:
            merged |= {name for name, first in leader.items() if first in known}
        leader |= dict.fromkeys(merged, min(merged, default=""))
    return leader
