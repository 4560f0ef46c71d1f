"""How near a text is to the one expected, by their embeddings.

A cosine says that two texts are about the same; *the card was blocked* and *the card was not blocked* are
near neighbours. So it stands beside other scores, is no measure of a release, and is worth what the
model of the embeddings is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from descant.evaluation.row_scores import MeanScore, RowScore, Unscored, mean_score
from descant.evaluation.statistics import FloatArray
from descant.schema.errors import InvalidData

Embedding = FloatArray | Unscored
"""A vector, or why there is none."""


class Embedder(Protocol):
    """Whoever represents texts by vectors."""

    @property
    def name(self) -> str:
        """What the vectors come from, for people."""

    def embed(self, texts: Sequence[str], /) -> Sequence[Embedding]:
        """Return a vector for each text, all of one length."""


def cosine_scores(
    expected: Sequence[str], written: Sequence[str | None], embedder: Embedder, seed: int = 0
) -> MeanScore:
    """Return the mean cosine of texts and those expected, from -1 to 1, with its 95 % interval.

    A text that is not there or has no vector is unscored. Every text is represented once.

    Raises:
        InvalidData: there are not as many texts as expected ones, or vectors differ in length.
    """
    if len(expected) != len(written):
        raise InvalidData(f"{len(written)} texts for {len(expected)} expected.", field="outputs")
    texts = list(dict.fromkeys([*expected, *(text for text in written if text is not None)]))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    rows: list[RowScore] = [
        Unscored("no output") if text is None else cosine(vectors[right], vectors[text])
        for right, text in zip(expected, written, strict=True)
    ]
    return mean_score(rows, seed, least=-1.0)


def cosine(one: Embedding, other: Embedding) -> RowScore:
    """Return the cosine of the angle between two vectors; a vector of nothing has none.

    Raises:
        InvalidData: they differ in length.
    """
    for each in (one, other):
        if isinstance(each, Unscored):
            return each
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise InvalidData("Embeddings of one model differ in length.", field="embeddings")
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not np.isfinite(lengths) or lengths == 0:
        return Unscored("the embedding has no direction")
    return float(np.clip(first @ second / lengths, -1.0, 1.0))
