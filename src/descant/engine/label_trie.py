"""A closed set of labels as token paths, so that one forward pass scores them all.

The probability of a label of several tokens needs the model's prediction after each of its tokens
but the last. Labels that begin alike share those predictions; a path that is the beginning of
another path needs no row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.schema.errors import InvalidIndicator

LabelIds = tuple[int, ...]


@dataclass(frozen=True)
class Prediction:
    """Where one token of one label is predicted."""

    path: int
    """Which path of the trie carries it."""
    depth: int
    """How many label tokens stand before it on that path."""
    token_id: int


@dataclass(frozen=True)
class LabelTrie:
    """The paths to run behind a tail, and where each label reads its predictions."""

    paths: tuple[LabelIds, ...]
    """Label beginnings to append to the tail, one row each; ``((),)`` for one-token labels."""
    predictions: tuple[tuple[Prediction, ...], ...]
    """For each label, one prediction per token."""

    @property
    def single_tokens(self) -> tuple[int, ...] | None:
        """The label tokens when every label is one token, else None."""
        if self.paths != ((),):
            return None
        return tuple(label[0].token_id for label in self.predictions)


def build_trie(labels: Sequence[LabelIds]) -> LabelTrie:
    """Lay the labels out as few paths.

    Raises:
        InvalidIndicator: a label has no tokens, two labels have the same ones, or one label is the
            beginning of another, so that reading it would not tell which is meant.
    """
    for index, label in enumerate(labels):
        rest = [*labels[:index], *labels[index + 1 :]]
        if not label or any(other[: len(label)] == label for other in rest):
            raise InvalidIndicator(
                "Two labels cannot be told apart by their tokens.",
                field="labels",
                remedy="Use labels none of which is the beginning of another.",
            )
    beginnings = sorted({label[:-1] for label in labels}, key=lambda path: (-len(path), path))
    paths: list[LabelIds] = []
    for beginning in beginnings:
        if not any(path[: len(beginning)] == beginning for path in paths):
            paths.append(beginning)
    return LabelTrie(tuple(paths), tuple(_locate(label, paths) for label in labels))


def label_log_probabilities(
    trie: LabelTrie, log_probabilities: Sequence[Float[Tensor, "_ V"]]
) -> Float[Tensor, " labels"]:
    """Return the log-probability of each label, normalised over the label set.

    `log_probabilities[p][d]` are the model's log-probabilities behind d tokens of path p.

    Semantics:
        out[l] = log softmax over l of sum_i log p(label[l][i] | tail, label[l][:i])
    """
    sums = [
        torch.stack([log_probabilities[at.path][at.depth, at.token_id] for at in label]).sum()
        for label in trie.predictions
    ]
    return torch.log_softmax(torch.stack(sums), 0)


def _locate(label: LabelIds, paths: Sequence[LabelIds]) -> tuple[Prediction, ...]:
    beginning = label[:-1]
    row = next(i for i, path in enumerate(paths) if path[: len(beginning)] == beginning)
    return tuple(Prediction(row, depth, token) for depth, token in enumerate(label))
