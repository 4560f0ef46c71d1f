"""A reader learns what plain autograd would teach it, and serves the tails trained behind it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from descant.engine import Engine, ScoreRequest, Tail
from descant.model import (
    DenseCausal,
    LoraAdapter,
    SingleAdapter,
    Site,
    content_hash,
    load_adapter,
    save_adapter,
)
from descant.training.checkpoint import Checkpoint
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.reader import ReaderTrainer
from descant.training.schedule import Batch
from tests.tiny import INVOCATION
from tests.training.test_one_pass import MODEL, QUESTIONS, RECIPE, examples

CLOSED = QUESTIONS[:2]
SETTINGS = replace(RECIPE, epochs=4, batch_conversations=4, conversations_at_once=3)


def reader_row(trainer: ReaderTrainer) -> torch.Tensor:
    return trainer.reader.rows[0].detach()


class InTurn:
    """The reader on the prefix, the tail's adapter behind it."""

    def __init__(self, own: LoraAdapter, reader: LoraAdapter, active: torch.Tensor):
        self.twins = [
            SingleAdapter(own, MODEL.config, active),
            SingleAdapter(reader, MODEL.config, ~active),
        ]

    def apply(self, layer: int, site: Site, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for twin in self.twins:
            y = twin.apply(layer, site, x, y)
        return y


def reader_of(trainer: ReaderTrainer) -> LoraAdapter:
    pairs = trainer.reader.pairs(0)
    return LoraAdapter("reader", content_hash(pairs, None), None, "start", None, 0, pairs)


def adapter_of(trainer: OnePassTrainer, index: int, reader: LoraAdapter) -> LoraAdapter:
    name = trainer.questions[index].name
    pairs = trainer.stack.pairs(index)
    return LoraAdapter(name, name, None, "invocation", INVOCATION, 0, pairs, reader=reader)


def test_a_step_gives_the_reader_the_gradient_of_plain_autograd() -> None:
    rows = examples(5)
    settings = replace(SETTINGS, max_gradient_norm=1e9)
    trainer = ReaderTrainer(MODEL, CLOSED, rows, settings)
    with torch.no_grad():
        # B is zero at first, and so would be the gradients of A.
        for row in (*trainer.stack.rows, *trainer.reader.rows):
            row.add_(0.05 * torch.randn(row.shape, generator=torch.Generator().manual_seed(1)))
    reader = reader_of(trainer)
    leaves = {place: pair.b.requires_grad_() for place, pair in reader.weights.items()}
    total = torch.zeros(())
    for index, question in enumerate(CLOSED):
        own = adapter_of(trainer, index, reader)
        vocabulary = torch.tensor([label[0] for label in question.labels])
        weights = trainer._weights[question.name]
        for row in trainer.examples:
            ids = torch.tensor([*row.prefix_ids, *INVOCATION])
            positions = torch.arange(len(ids))
            twin = InTurn(own, reader, positions >= len(row.prefix_ids))
            hidden = MODEL(ids, positions, DenseCausal(), twin)
            label = row.targets[question.name]
            logits = MODEL.logits(hidden[-1:], vocabulary)
            loss = F.cross_entropy(logits, torch.tensor([label]))
            total = total + weights[label] * loss / len(rows)
    total.backward()
    losses = trainer.train_step(Batch(tuple(range(5)), (0, 1)))
    assert sum(losses.values()) == pytest.approx(total.item(), rel=1e-4)
    got = trainer.reader.rows[0].grad
    assert got is not None
    for (layer, _), place in trainer.reader.places.items():
        expands = place.matrices(got[None])[1:]
        for module, expand in zip(place.modules, expands, strict=True):
            assert torch.allclose(expand[0].T, leaves[layer, module].grad, atol=2e-5)


def test_tails_behind_a_frozen_reader_score_in_the_engine_as_they_were_trained(
    tmp_path: Path,
) -> None:
    rows = examples(48)
    settings = replace(SETTINGS, epochs=8, batch_conversations=8, conversations_at_once=8)
    trainer = ReaderTrainer(MODEL, CLOSED, rows, settings)
    seen: list[Progress] = []
    trainer.train(Checkpoint(tmp_path, "x"), itertools.count().__next__, seen.append)
    assert seen[-1].mean_loss < 0.7 * seen[0].mean_loss
    reader = reader_of(trainer)
    tails = OnePassTrainer(MODEL, CLOSED, rows, settings, reader=reader)
    tails.train(Checkpoint(tmp_path, "y"), itertools.count().__next__)
    engine = Engine(MODEL, "base")
    asked = []
    for index, question in enumerate(CLOSED):
        save_adapter(tmp_path / question.name, adapter_of(tails, index, reader))
        loaded = load_adapter(tmp_path / question.name, MODEL.config)
        assert loaded.reader is not None
        assert loaded.reader.content_hash == reader.content_hash
        asked.append(Tail(INVOCATION, question.labels, loaded))
    results = engine.score([ScoreRequest(row.prefix_ids, tuple(asked)) for row in rows])
    answers = [
        [
            int(scores.argmax()) == row.targets[q.name]
            for q, scores in zip(CLOSED, r.log_probabilities, strict=True)
        ]
        for r, row in zip(results, rows, strict=True)
    ]
    assert sum(map(sum, answers)) / 96 > 0.9
    # One reading for both tails, as behind the base model.
    prefix_tokens = sum(len(row.prefix_ids) for row in rows)
    assert sum(r.num_read for r in results) <= prefix_tokens + 48 * 2 * len(INVOCATION)


def test_an_interrupted_run_resumes_to_the_same_reader(tmp_path: Path) -> None:
    rows, dev = examples(8), examples(6, seed=5)

    def interrupt(progress: Progress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    unbroken = ReaderTrainer(MODEL, CLOSED, rows, SETTINGS, dev)
    unbroken.train(Checkpoint(tmp_path / "unbroken", "x"), itertools.count().__next__)
    checkpoint = Checkpoint(tmp_path / "broken", "x")
    first = ReaderTrainer(MODEL, CLOSED, rows, SETTINGS, dev)
    with pytest.raises(KeyboardInterrupt):
        first.train(checkpoint, itertools.count().__next__, interrupt)
    second = ReaderTrainer(MODEL, CLOSED, rows, SETTINGS, dev)
    second.resume(checkpoint)
    second.train(checkpoint, itertools.count().__next__)
    assert torch.equal(reader_row(second), reader_row(unbroken))
    assert not torch.equal(
        reader_row(second), reader_row(ReaderTrainer(MODEL, CLOSED, rows, SETTINGS))
    )
