"""What training minimises: the surprise at each right label.

One-token labels are a choice between the labels of the set: cross-entropy over those tokens alone,
which is what scoring reads. Where a teacher gave a probability for each label, that choice is drawn
towards the teacher's. Labels of several tokens are learned token by token over the whole vocabulary.
Conversations without a label for an indicator carry no loss for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from descant.data import Example
from descant.model import Transformer
from descant.schema.errors import InvalidData


@dataclass(frozen=True)
class Question:
    """One indicator as token ids."""

    name: str
    tail_ids: tuple[int, ...]
    """Begins with the invocation."""
    labels: tuple[tuple[int, ...], ...]
    """Where the answer is a text: all that were written."""
    is_text: bool = False

    @property
    def is_closed(self) -> bool:
        """True when every label is one token."""
        return not self.is_text and all(len(label) == 1 for label in self.labels)


@dataclass(frozen=True)
class TailBatch:
    """The tails of all questions behind some conversations: [A, C, S] tokens, padded at the end."""

    token_ids: Int[Tensor, "A C S"]
    targets: Int[Tensor, "A C S"]
    """The token to predict at each place; -1 where nothing is to be predicted."""
    weights: Float[Tensor, "A C"]
    """0 where the conversation has no label for the question."""
    probabilities: Float[Tensor, "A C L"]
    """A teacher's for each label, padded at the end; zeros where it gave none."""


def build_tails(
    questions: Sequence[Question],
    examples: Sequence[Example],
    weights: Mapping[str, Sequence[float]],
) -> TailBatch:
    """Lay out each question's tail and right label behind each conversation.

    `weights` gives a weight per label, by question name; an example's own weight multiplies it.
    """
    width = max(_length(question) for question in questions)
    shape = (len(questions), len(examples), width)
    token_ids = torch.zeros(shape, dtype=torch.int64)
    wanted = torch.full(shape, -1)
    row_weights = torch.zeros(shape[:2])
    soft = torch.zeros(*shape[:2], max(len(question.labels) for question in questions))
    for row, question in enumerate(questions):
        for column, example in enumerate(examples):
            label = example.targets.get(question.name)
            ids, predicted = _row(question, label)
            token_ids[row, column, : len(ids)] = torch.tensor(ids)
            if label is not None:
                first = len(question.tail_ids) - 1
                wanted[row, column, first : first + len(predicted)] = torch.tensor(predicted)
                own = example.weights.get(question.name, 1.0)
                row_weights[row, column] = weights[question.name][label] * own
                shares = example.probabilities.get(question.name, ())
                soft[row, column, : len(shares)] = torch.tensor(shares)
    return TailBatch(token_ids, wanted, row_weights, soft)


def check_soft_labels(questions: Sequence[Question], examples: Sequence[Example]) -> None:
    """Refuse soft labels that are no choice between single tokens.

    Raises:
        InvalidData: names the question.
    """
    for question in questions:
        if question.is_closed:
            continue
        if any(question.name in example.probabilities for example in examples):
            raise InvalidData(
                f"Soft labels of {question.name!r} cannot be learned: some of its labels begin with "
                "the same token.",
                field=f"probabilities.{question.name}",
                remedy="Leave its probabilities out, or choose labels that begin differently.",
            )


def label_losses(
    model: Transformer,
    hidden: Float[Tensor, "A C S E"],
    tails: TailBatch,
    questions: Sequence[Question],
    temperature: float = 1.0,
    smoothing: float = 0.0,
) -> Float[Tensor, " A"]:
    """Return each question's mean loss over the conversations that have a label for it.

    `temperature` softens teacher and student before they are compared, see `distillation_losses`.
    `smoothing` is the part of a hard target that is spread over all labels of the set (Szegedy et
    al., Rethinking the Inception Architecture, 2016, section 7; arXiv:1512.00567).

    Semantics:
        out[a] = sum_c w[a, c] * loss[a, c] / (number of c with a label)
    """
    losses = []
    laid_out = (tails.targets, tails.weights, tails.probabilities)
    all_targets, all_weights, all_soft = (x.to(hidden.device) for x in laid_out)
    for row, question in enumerate(questions):
        has_label = all_weights[row] > 0
        count = has_label.sum().clamp(min=1)
        states, targets = hidden[row][has_label], all_targets[row][has_label]
        if question.is_closed:
            soft = all_soft[row][has_label, : len(question.labels)]
            rows = _closed_losses(model, states, targets, soft, question, temperature, smoothing)
        else:
            rows = _open_losses(model, states, targets)
        losses.append((rows * all_weights[row][has_label]).sum() / count)
    return torch.stack(losses)


def distillation_losses(
    logits: Float[Tensor, "C L"], probabilities: Float[Tensor, "C L"], temperature: float
) -> Float[Tensor, " C"]:
    """Return how far each choice between labels is from the teacher's.

    The factor T² keeps gradients of one size whatever the temperature: Hinton, Vinyals and Dean,
    Distilling the Knowledge in a Neural Network, 2015, section 2 (arXiv:1503.02531).

    Semantics:
        out[c] = T² * sum_l p[c, l] * (log p[c, l] - log q[c, l]),
        p = softmax(log(probabilities) / T), q = softmax(logits / T)
    """
    teacher = (probabilities.log() / temperature).softmax(-1)
    student = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none").sum(-1)


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
    """Return a weight per label: (1 / frequency) ** power, scaled to a mean of 1 over the data.

    Texts all weigh the same.
    """
    if question.is_text:
        return [1.0] * len(question.labels)
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


def _closed_losses(
    model: Transformer,
    hidden: Float[Tensor, "C S E"],
    targets: Int[Tensor, "C S"],
    probabilities: Float[Tensor, "C L"],
    question: Question,
    temperature: float,
    smoothing: float,
) -> Float[Tensor, " C"]:
    place = len(question.tail_ids) - 1
    vocabulary = torch.tensor([label[0] for label in question.labels], device=hidden.device)
    logits = model.logits(hidden[:, place], vocabulary)
    right = (targets[:, place, None] == vocabulary).int().argmax(1)
    losses = F.cross_entropy(logits, right, reduction="none", label_smoothing=smoothing)
    is_soft = probabilities.sum(1) > 0
    soft = distillation_losses(logits[is_soft], probabilities[is_soft], temperature)
    return losses.masked_scatter(is_soft, soft)


def _open_losses(
    model: Transformer, hidden: Float[Tensor, "C S E"], targets: Int[Tensor, "C S"]
) -> Float[Tensor, " C"]:
    predicted = targets >= 0
    logits = model.logits(hidden[predicted])
    surprises = F.cross_entropy(logits, targets[predicted], reduction="none")
    return (
        torch.zeros(targets.shape, device=hidden.device).masked_scatter(predicted, surprises).sum(1)
    )
