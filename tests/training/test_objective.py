"""Soft labels: the hard loss is their edge case, and gradients are those of the textbook."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant.data import Example
from descant.schema.errors import InvalidData
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question, build_tails, distillation_losses, label_losses
from descant.training.one_pass import OnePassTrainer
from descant.training.schedule import Batch
from tests.tiny import INVOCATION, tiny_model

MODEL = tiny_model()
TWO = Question("two", INVOCATION, ((10,), (11,)))
FOUR = Question("four", INVOCATION, ((12,), (13,), (14,), (15,)))
LONG = Question("long", INVOCATION, ((14, 15), (14, 16), (17,)))
RECIPE = Hyperparameters(rank=4, epochs=1, min_steps=1, batch_conversations=4)


def one_hot(index: int, count: int) -> tuple[float, ...]:
    return tuple(float(at == index) for at in range(count))


def hard_rows() -> list[Example]:
    return [
        Example(f"call-{at}", (30 + at, 31), {"two": at % 2, "four": at % 4}) for at in range(4)
    ]


def losses_and_gradients(
    rows: list[Example], questions: list[Question], temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = torch.randn(2, 4, 2, MODEL.config.hidden_size, generator=torch.Generator())
    hidden = hidden[: len(questions), : len(rows)].requires_grad_()
    weights = {question.name: [0.5, 1.5, 1.0, 1.0] for question in questions}
    tails = build_tails(questions, rows, weights)
    losses = label_losses(MODEL, hidden, tails, questions, temperature)
    [gradient] = torch.autograd.grad(losses.sum(), [hidden])
    return losses, gradient


def test_one_hot_soft_labels_at_temperature_1_are_hard_labels() -> None:
    rows = hard_rows()
    soft = [
        replace(
            row,
            probabilities={
                "two": one_hot(row.targets["two"], 2),
                "four": one_hot(row.targets["four"], 4),
            },
        )
        for row in rows
    ]
    hard_losses, hard_gradient = losses_and_gradients(rows, [TWO, FOUR])
    soft_losses, soft_gradient = losses_and_gradients(soft, [TWO, FOUR])
    assert torch.equal(soft_losses, hard_losses)
    assert torch.allclose(soft_gradient, hard_gradient, rtol=0, atol=1e-7)
    assert hard_gradient.abs().max() > 0.01


def test_smoothing_is_soft_labels_that_are_nearly_hard() -> None:
    rows = hard_rows()
    hidden = torch.randn(1, 4, 2, MODEL.config.hidden_size, generator=torch.Generator())
    smooth = [
        replace(
            row,
            probabilities={"four": tuple(0.05 + 0.8 * p for p in one_hot(row.targets["four"], 4))},
        )
        for row in rows
    ]
    weights = {"four": [1.0] * 4}
    smoothed, soft = (
        label_losses(MODEL, hidden, build_tails([FOUR], own, weights), [FOUR], smoothing=share)
        for own, share in ((rows, 0.2), (smooth, 0.0))
    )
    # Cross-entropy and divergence differ by the entropy of the target.
    entropy = -(0.85 * torch.tensor(0.85).log() + 3 * 0.05 * torch.tensor(0.05).log())
    assert torch.allclose(smoothed, soft + entropy, atol=1e-5)


def test_hard_and_soft_labels_stand_in_one_batch() -> None:
    rows = hard_rows()
    mixed = [*rows[:3], replace(rows[3], probabilities={"two": (0.25, 0.75)})]
    hard, _ = losses_and_gradients(rows, [TWO, FOUR])
    both, _ = losses_and_gradients(mixed, [TWO, FOUR])
    assert both[1] == hard[1]
    assert not torch.isclose(both[0], hard[0])
    assert torch.isfinite(both).all()


def test_weights_of_examples_multiply_their_losses() -> None:
    rows = hard_rows()
    [whole] = losses_and_gradients(rows[:1], [TWO])[0].tolist()
    lighter = replace(rows[0], weights={"two": 0.25, "four": 7.0})
    assert losses_and_gradients([lighter], [TWO])[0].tolist() == pytest.approx([0.25 * whole])


shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)
scores = st.lists(st.floats(-8, 8), min_size=3, max_size=3)


@given(logits=scores, raw=shares, temperature=st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_the_gradient_is_that_of_equation_2(
    logits: list[float], raw: list[float], temperature: float
) -> None:
    """Hinton, Vinyals and Dean 2015, equation 2: dC/dz = (q - p) / T, here times T²."""
    z = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([raw], dtype=torch.float64)
    p = p / p.sum()
    [gradient] = torch.autograd.grad(distillation_losses(z, p, temperature).sum(), [z])
    softened = p ** (1 / temperature)
    q = torch.exp(z / temperature) / torch.exp(z / temperature).sum()
    expected = temperature**2 * (q - softened / softened.sum()) / temperature
    assert torch.allclose(gradient, expected, atol=1e-9)


@given(raw=shares, temperature=st.sampled_from([0.5, 1.0, 3.0]))
def test_the_teacher_itself_has_no_loss(raw: list[float], temperature: float) -> None:
    p = torch.tensor([raw], dtype=torch.float64)
    p = p / p.sum()
    assert distillation_losses(p.log(), p, temperature).abs().max() < 1e-9
    assert distillation_losses(p.log().flip(1), p, temperature) > -1e-9


def test_gradients_keep_their_size_at_high_temperatures() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]])
    sizes = []
    for temperature in (8.0, 16.0):
        z = torch.zeros(1, 3, requires_grad=True)
        [gradient] = torch.autograd.grad(distillation_losses(z, p, temperature).sum(), [z])
        sizes.append(float(gradient.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_labels_a_teacher_gives_no_chance_are_learned_at_any_temperature() -> None:
    z = torch.zeros(1, 3, requires_grad=True)
    losses = distillation_losses(z, torch.tensor([[0.5, 0.5, 0.0]]), 4.0)
    [gradient] = torch.autograd.grad(losses.sum(), [z])
    assert torch.isfinite(losses).all()
    assert gradient[0, 2] > 0 > gradient[0, 0]


def test_a_student_comes_to_think_what_its_teacher_thinks() -> None:
    rows = [Example(f"call-{at}", (30 + at, 31), {"two": 1}, {"two": (0.3, 0.7)}) for at in (0, 1)]
    settings = replace(RECIPE, learning_rate=0.02, epochs=40, class_weight_power=0.0)
    trainer = OnePassTrainer(MODEL, [TWO], rows, settings)
    losses = [trainer.train_step(Batch((0, 1), (0,)))["two"] for _ in range(40)]
    assert losses[-1] < 0.01 < losses[0]


def test_soft_labels_that_begin_alike_are_refused() -> None:
    rows = [Example("a", (30,), {"long": 1}, {"long": (0.1, 0.8, 0.1)})]
    with pytest.raises(InvalidData, match="'long' cannot be learned") as caught:
        OnePassTrainer(MODEL, [LONG], rows, RECIPE)
    assert caught.value.field == "probabilities.long"
    OnePassTrainer(MODEL, [LONG], [Example("a", (30,), {"long": 1})], RECIPE)
