"""Of all epochs the best one is kept, and an adapter that gets no better learns no more."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant.data import Example
from descant.training.adapter_stack import AdapterStack
from descant.training.checkpoint import Checkpoint
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.rate_search import RateSearch
from descant.training.selection import Selection
from tests.training.test_one_pass import MODEL, QUESTIONS, RECIPE, examples, matrices

SETTINGS = replace(RECIPE, epochs=6, patience_epochs=2, learning_rate=5e-2)


def trainer_with_dev(dev: list[Example]) -> OnePassTrainer:
    return OnePassTrainer(MODEL, QUESTIONS, examples(8), SETTINGS, dev)


def test_each_adapter_ends_as_it_was_when_it_was_best(tmp_path: Path) -> None:
    dev = examples(9, seed=5)
    trainer = trainer_with_dev(dev)
    trainer.train(Checkpoint(tmp_path, "same"), itertools.count().__next__)
    best = trainer.selection.best_losses()
    fresh = OnePassTrainer(MODEL, QUESTIONS, examples(8), SETTINGS, dev)
    fresh.stack.load_state_dict(trainer.stack.state_dict())
    for index, loss in fresh.dev_losses().items():
        assert loss == pytest.approx(best[index], rel=1e-5)
    assert trainer.selection.num_rounds <= SETTINGS.epochs


def test_an_adapter_that_gets_no_better_takes_no_more_steps(tmp_path: Path) -> None:
    # What is right here is wrong there: every epoch makes it worse.
    dev = [
        replace(row, targets={name: 1 - label for name, label in row.targets.items() if label < 2})
        for row in examples(12, seed=0)
    ]
    trainer = OnePassTrainer(MODEL, QUESTIONS[:1], examples(12), SETTINGS, dev)
    seen: list[Progress] = []
    trainer.train(Checkpoint(tmp_path, "same"), itertools.count().__next__, seen.append)
    assert trainer.step == trainer.num_steps
    learned = [progress for progress in seen if progress.losses]
    assert len(learned) < len(seen)
    assert trainer.selection.is_done(0)


def test_an_interrupted_run_resumes_to_the_same_adapters(tmp_path: Path) -> None:
    dev = examples(9, seed=5)
    unbroken = trainer_with_dev(dev)
    unbroken.train(Checkpoint(tmp_path / "unbroken", "same"), itertools.count().__next__)

    def interrupt(progress: Progress) -> None:
        if progress.step == 7:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "broken", "same")
    with pytest.raises(KeyboardInterrupt):
        trainer_with_dev(dev).train(checkpoint, itertools.count().__next__, interrupt)
    second = trainer_with_dev(dev)
    second.resume(checkpoint)
    assert second.step == 7
    second.train(checkpoint, itertools.count().__next__)
    for index in range(len(QUESTIONS)):
        assert torch.equal(matrices(second, index), matrices(unbroken, index))
    assert second.selection.to_json() == unbroken.selection.to_json()


def test_a_batch_computed_in_parts_is_the_same_step(tmp_path: Path) -> None:
    whole = OnePassTrainer(MODEL, QUESTIONS, examples(12), replace(RECIPE, batch_conversations=6))
    settings = replace(RECIPE, batch_conversations=6, conversations_at_once=2)
    parts = OnePassTrainer(MODEL, QUESTIONS, examples(12), settings)
    for trainer in (whole, parts):
        losses = trainer.train_step(trainer.batches[0])
        assert len(losses) == len(QUESTIONS)
    for index in range(len(QUESTIONS)):
        assert torch.allclose(matrices(whole, index), matrices(parts, index), atol=3e-4)


def test_each_adapter_takes_the_rate_it_was_best_with(tmp_path: Path) -> None:
    rows, dev, rates = examples(12), examples(9, seed=5), (1e-7, 1e-3, 3e-2)
    search = RateSearch(MODEL, QUESTIONS, rows, replace(SETTINGS, search_rates=rates), dev)
    found = search.run(tmp_path / "search", itertools.count().__next__, lambda progress: None)
    losses = {}
    for rate in rates:
        once = replace(SETTINGS, epochs=1, min_steps=1, learning_rate=rate)
        alone = OnePassTrainer(MODEL, QUESTIONS, rows, once, dev)
        alone.train(Checkpoint(tmp_path, "same"), itertools.count().__next__)
        losses[rate] = alone.selection.best_losses()
    assert found == {
        question.name: min((losses[rate][index], rate) for rate in rates)[1]
        for index, question in enumerate(QUESTIONS)
    }
    assert len(set(found.values())) > 1
    assert not (tmp_path / "search").exists()
    assert search.readings is not None
    one_reading = sum(len(row.prefix_ids) for row in (*rows, *dev))
    assert search.readings.num_tokens_read == one_reading
    trainer = OnePassTrainer(MODEL, QUESTIONS, rows, SETTINGS, rates={"ends_high": 0.5})
    assert [trainer.rate_of(index) for index in range(3)] == [5e-2, 0.5, 5e-2]


@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=12), st.integers(1, 4))
def test_an_adapter_is_done_when_its_best_epoch_is_long_ago(
    losses: list[float], patience: int
) -> None:
    stack = AdapterStack(MODEL.config, RECIPE, [0], torch.device("cpu"))
    selection = Selection(patience, torch.float32)
    assert not selection.is_done(0)
    best = float("inf")
    for loss in losses:
        with torch.no_grad():
            stack.rows[0].fill_(loss)
        selection.record({0: loss}, list(stack.rows))
        best = min(best, loss)
    assert selection.is_done(0) == (losses.index(min(losses)) < len(losses) - patience)
    again = Selection(patience, torch.float32)
    again.load(selection.to_json(), selection.tensors())
    again.restore(list(stack.rows))
    assert stack.rows[0].detach()[0].item() == pytest.approx(best)
