"""What training minimises: the surprise at each right label.

One-token labels are a choice between the labels of the set: cross-entropy over those tokens alone,
which is what scoring reads. Labels of several tokens are learned token by token over the whole
vocabulary. Conversations without a label for an indicator carry no loss for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descant.model import Transformer
from descant.schema.errors import InvalidData


@dataclass(frozen=True)
class Question:
    """One indicator as token ids."""

    name: str
    tail_ids: tuple[int, ...]
    """Begins with the invocation."""
    labels: tuple[tuple[int, ...], ...]

    @property
    def is_closed(self) -> bool:
        """True when every label is one token."""
        return all(len(label) == 1 for label in self.labels)


@dataclass(frozen=True)
class TailBatch:
    """The tails of all questions behind some conversations: [A, C, S] tokens, padded at the end."""

    token_ids: Int[Tensor, "A C S"]
    targets: Int[Tensor, "A C S"]
    """The token to predict at each place; -1 where nothing is to be predicted."""
    weights: Float[Tensor, "A C"]
    """0 where the conversation has no label for the question."""


def build_tails(
    questions: Sequence[Question],
    targets: Sequence[Mapping[str, int]],
    weights: Mapping[str, Sequence[float]],
) -> TailBatch:
    """Lay out each question's tail and right label behind each conversation.

    `targets` gives a label index by question name, per conversation; `weights` a weight per label.
    """
    width = max(_length(question) for question in questions)
    shape = (len(questions), len(targets), width)
    token_ids = torch.zeros(shape, dtype=torch.int64)
    wanted = torch.full(shape, -1)
    row_weights = torch.zeros(shape[:2])
    for row, question in enumerate(questions):
        for column, labels in enumerate(targets):
            label = labels.get(question.name)
            ids, predicted = _row(question, label)
            token_ids[row, column, : len(ids)] = torch.tensor(ids)
            if label is not None:
                first = len(question.tail_ids) - 1
                wanted[row, column, first : first + len(predicted)] = torch.tensor(predicted)
                row_weights[row, column] = weights[question.name][label]
    return TailBatch(token_ids, wanted, row_weights)


def label_losses(
    model: Transformer,
    hidden: Float[Tensor, "A C S E"],
    tails: TailBatch,
    questions: Sequence[Question],
) -> Float[Tensor, " A"]:
    """Return each question's mean loss over the conversations that have a label for it.

    Semantics:
        out[a] = sum_c w[a, c] * loss[a, c] / (number of c with a label)
    """
    losses = []
    all_targets, all_weights = tails.targets.to(hidden.device), tails.weights.to(hidden.device)
    for row, question in enumerate(questions):
        has_label = all_weights[row] > 0
        count = has_label.sum().clamp(min=1)
        rows = _row_losses(model, hidden[row], all_targets[row], question, has_label)
        losses.append((rows * all_weights[row][has_label]).sum() / count)
    return torch.stack(losses)


def weights_by_question(
    questions: Sequence[Question], targets: Sequence[Mapping[str, int]], power: float
) -> dict[str, list[float]]:
    """Return `label_weights` of every question, by its name.

    Raises:
        InvalidData: nobody labelled one of them; names it.
    """
    for question in questions:
        if not any(question.name in labels for labels in targets):
            raise InvalidData(
                f"No conversation has a label for {question.name!r}.",
                field=question.name,
                remedy="Label some conversations, or leave the indicator out.",
            )
    return {question.name: label_weights(targets, question, power) for question in questions}


def label_weights(
    targets: Sequence[Mapping[str, int]], question: Question, power: float
) -> list[float]:
    """Return a weight per label: (1 / frequency) ** power, scaled to a mean of 1 over the data."""
    counts = [0] * len(question.labels)
    for labels in targets:
        if question.name in labels:
            counts[labels[question.name]] += 1
    total = sum(counts)
    raw = [(total / count) ** power if count else 0.0 for count in counts]
    mean = sum(w * n for w, n in zip(raw, counts, strict=True)) / max(total, 1)
    return [w / mean if mean else 1.0 for w in raw]


def _length(question: Question) -> int:
    return len(question.tail_ids) + max(len(label) for label in question.labels) - 1


def _row(question: Question, label: int | None) -> tuple[list[int], list[int]]:
    predicted = list(question.labels[label]) if label is not None else []
    return [*question.tail_ids, *predicted[:-1]], predicted


def _row_losses(
    model: Transformer,
    hidden: Float[Tensor, "C S E"],
    targets: Int[Tensor, "C S"],
    question: Question,
    has_label: Bool[Tensor, " C"],
) -> Float[Tensor, " labelled"]:
    hidden, targets = hidden[has_label], targets[has_label]
    if question.is_closed:
        place = len(question.tail_ids) - 1
        vocabulary = torch.tensor([label[0] for label in question.labels], device=hidden.device)
        logits = model.logits(hidden[:, place], vocabulary)
        right = (targets[:, place, None] == vocabulary).int().argmax(1)
        return F.cross_entropy(logits, right, reduction="none")
    predicted = targets >= 0
    logits = model.logits(hidden[predicted])
    surprises = F.cross_entropy(logits, targets[predicted], reduction="none")
    return (
        torch.zeros(targets.shape, device=hidden.device).masked_scatter(predicted, surprises).sum(1)
    )
