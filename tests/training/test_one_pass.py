"""One pass gives every adapter what it would have got alone, and survives being stopped."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.data import Example
from descant.engine import Engine, ScoreRequest, Tail
from descant.model import LoraAdapter, Site
from descant.schema.errors import CacheCorrupt, InvalidConfig, InvalidData, TrainingDiverged
from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question, build_tails, label_weights
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.schedule import Batch
from tests.tiny import INVOCATION, tiny_model

MODEL = tiny_model()
QUESTIONS = [
    Question("has_forty", INVOCATION, ((10,), (11,))),
    Question("ends_high", INVOCATION, ((12,), (13,))),
    Question("long_label", INVOCATION, ((14, 15), (14, 16), (17,))),
]
RECIPE = Hyperparameters(
    rank=4,
    epochs=2,
    min_steps=1,
    batch_conversations=4,
    learning_rate=1e-2,
    checkpoint_steps=2,
    seed=3,
)


def examples(count: int, seed: int = 0) -> list[Example]:
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        prefix = tuple(generator.randrange(30, 60) for _ in range(generator.randrange(4, 9)))
        targets = {"has_forty": int(40 in prefix), "ends_high": int(prefix[-1] >= 45)}
        if index % 3:
            targets["long_label"] = prefix[0] % 3
        rows.append(Example(f"call-{index:03}", prefix, targets))
    return rows


def run(
    questions: list[Question], rows: list[Example], folder: Path, settings: Hyperparameters = RECIPE
) -> OnePassTrainer:
    trainer = OnePassTrainer(MODEL, questions, rows, settings)
    trainer.train(Checkpoint(folder, "same"), itertools.count().__next__)
    return trainer


def matrices(trainer: OnePassTrainer, index: int) -> torch.Tensor:
    pairs = trainer.stack.pairs(index).values()
    return torch.cat([x.flatten() for pair in pairs for x in (pair.a, pair.b)])


def test_each_adapter_learns_what_it_would_have_learned_alone(tmp_path: Path) -> None:
    rows = examples(12)
    together = run(QUESTIONS, rows, tmp_path)
    for index, question in enumerate(QUESTIONS):
        # The same batches: which conversations stand together depends on what they are asked.
        alone = OnePassTrainer(MODEL, [question], rows, RECIPE)
        alone.batches = [
            Batch(batch.conversations, (0,))
            for batch in together.batches
            if index in batch.questions
        ]
        alone.train(Checkpoint(tmp_path, "same"), itertools.count().__next__)
        # Adam divides by the gradient's size: where that is almost nothing, roundings are moves.
        assert torch.allclose(matrices(together, index), matrices(alone, 0), atol=3e-4)
        assert matrices(alone, 0).abs().max() > 0.01


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    rows = examples(8)
    first = run(QUESTIONS[:1], rows, tmp_path)
    again = run(QUESTIONS[:1], list(reversed(rows)), tmp_path)
    other = run(QUESTIONS[:1], rows, tmp_path, replace(RECIPE, seed=4))
    assert torch.equal(matrices(first, 0), matrices(again, 0))
    assert not torch.allclose(matrices(first, 0), matrices(other, 0))


@pytest.mark.parametrize("cache_bytes", [0, 4000])
def test_readings_that_do_not_fit_are_read_again_with_the_same_result(
    tmp_path: Path, cache_bytes: int
) -> None:
    rows = examples(8)
    kept = run(QUESTIONS[:1], rows, tmp_path)
    again = run(QUESTIONS[:1], rows, tmp_path, replace(RECIPE, reading_cache_bytes=cache_bytes))
    assert again.readings.num_tokens_read > kept.readings.num_tokens_read
    assert again.readings.num_bytes <= cache_bytes
    assert torch.allclose(matrices(kept, 0), matrices(again, 0), atol=1e-6)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_an_interrupted_run_resumes_to_the_same_adapters(tmp_path: Path, stop_at: int) -> None:
    rows = examples(12)
    unbroken = run(QUESTIONS, rows, tmp_path / "unbroken")

    def interrupt(progress: Progress) -> None:
        if progress.step == stop_at:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "broken", "same")
    first = OnePassTrainer(MODEL, QUESTIONS, rows, RECIPE)
    with pytest.raises(KeyboardInterrupt):
        first.train(checkpoint, itertools.count().__next__, interrupt)
    second = OnePassTrainer(MODEL, QUESTIONS, rows, RECIPE)
    second.resume(checkpoint)
    assert second.step == stop_at
    second.train(checkpoint, itertools.count().__next__)
    for index in range(len(QUESTIONS)):
        assert torch.allclose(matrices(unbroken, index), matrices(second, index), atol=1e-6)


def test_a_killed_run_loses_at_most_one_checkpoint_interval(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise Killed

    checkpoint = Checkpoint(tmp_path, "same")
    trainer = OnePassTrainer(MODEL, QUESTIONS, examples(12), RECIPE)
    with pytest.raises(Killed):
        trainer.train(checkpoint, itertools.count().__next__, kill)
    assert checkpoint.load(trainer.stack, trainer.optimizer, trainer.selection) == 4


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer = OnePassTrainer(MODEL, QUESTIONS, examples(4), RECIPE)
    Checkpoint(tmp_path, "one").save(0, trainer.stack, trainer.optimizer, trainer.selection)
    with pytest.raises(InvalidConfig, match="another run"):
        Checkpoint(tmp_path, "two").load(trainer.stack, trainer.optimizer, trainer.selection)
    with pytest.raises(InvalidConfig, match="nothing to resume"):
        Checkpoint(tmp_path / "empty", "one").load(
            trainer.stack, trainer.optimizer, trainer.selection
        )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trainer = OnePassTrainer(MODEL, QUESTIONS, examples(4), RECIPE)
    Checkpoint(tmp_path, "one").save(0, trainer.stack, trainer.optimizer, trainer.selection)
    [state] = tmp_path.rglob("state.safetensors")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CacheCorrupt, match="step-"):
        Checkpoint(tmp_path, "one").load(trainer.stack, trainer.optimizer, trainer.selection)


def test_conversations_without_a_label_change_nothing_for_that_adapter() -> None:
    rows = [Example(f"call-{i}", (30 + i, 31), {"has_forty": 0}) for i in range(4)]
    rows.append(Example("call-9", (50, 51), {"has_forty": 1, "ends_high": 1}))
    trainer = OnePassTrainer(MODEL, QUESTIONS[:2], rows, replace(RECIPE, weight_decay=0.0))
    before = matrices(trainer, 0), matrices(trainer, 1)
    losses = trainer.train_step(Batch((0, 1, 2, 3), (0,)))
    assert losses.keys() == {"has_forty"}
    assert torch.equal(matrices(trainer, 1), before[1])
    assert not torch.equal(matrices(trainer, 0), before[0])


def test_the_engine_scores_as_the_trainer_saw_it(tmp_path: Path) -> None:
    rows = examples(64)
    settings = replace(RECIPE, epochs=12, batch_conversations=8)
    trainer = run(QUESTIONS[:2], rows, tmp_path, settings)
    engine = Engine(MODEL, "base")
    tails = []
    for index, question in enumerate(QUESTIONS[:2]):
        adapter = LoraAdapter(
            question.name,
            question.name,
            None,
            "invocation",
            INVOCATION,
            0,
            trainer.stack.pairs(index),
        )
        tails.append(Tail(INVOCATION, question.labels, adapter))
    results = engine.score([ScoreRequest(row.prefix_ids, tuple(tails)) for row in rows])
    readings = trainer.readings.get(range(64), [row.prefix_ids for row in trainer.examples])
    weights = {question.name: [1.0, 1.0] for question in QUESTIONS}
    batch = build_tails(QUESTIONS[:2], rows, weights)
    with torch.no_grad():
        active = trainer.stack.activate([0, 1], MODEL.dtype)
        hidden = trainer.forward(batch, readings, active)[:, :, len(INVOCATION) - 1]
    right = 0
    for index, question in enumerate(QUESTIONS[:2]):
        vocabulary = torch.tensor([label[0] for label in question.labels])
        expected = MODEL.logits(hidden[index], vocabulary).log_softmax(-1)
        got = torch.stack([result.log_probabilities[index] for result in results])
        assert torch.allclose(got, expected, atol=1e-4)
        chosen = got.argmax(1).tolist()
        right += sum(c == row.targets[question.name] for c, row in zip(chosen, rows, strict=True))
    assert right / 128 > 0.9


@pytest.mark.parametrize("site", [(0, "qkv"), (1, "down")])
def test_a_loss_that_is_not_a_number_stops_before_the_step(site: tuple[int, Site]) -> None:
    trainer = OnePassTrainer(MODEL, QUESTIONS, examples(4), RECIPE)
    with torch.no_grad():
        trainer.stack.places[site].matrices(trainer.stack.rows[1][None])[1].fill_(torch.nan)
    before = matrices(trainer, 0)
    with pytest.raises(TrainingDiverged, match=r"'ends_high'.*call-000"):
        trainer.train_step(Batch((0, 1), (0, 1)))
    assert torch.equal(matrices(trainer, 0), before)
    assert trainer.step == 0


def test_an_indicator_nobody_labelled_is_named() -> None:
    with pytest.raises(InvalidData, match="ends_high"):
        OnePassTrainer(MODEL, QUESTIONS, [Example("a", (30,), {"has_forty": 1})], RECIPE)


def test_rare_labels_weigh_more_and_the_mean_weight_is_one() -> None:
    targets = [{"has_forty": 1}] * 2 + [{"has_forty": 0}] * 8 + [{}] * 5
    low, high = label_weights(targets, QUESTIONS[0], power=0.5)
    assert high / low == pytest.approx(2.0)
    assert 0.8 * low + 0.2 * high == pytest.approx(1.0)
    assert label_weights(targets, QUESTIONS[0], power=0.0) == [1.0, 1.0]


def test_progress_says_how_long_it_will_take(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trainer = OnePassTrainer(MODEL, QUESTIONS, examples(8), RECIPE)
    trainer.train(Checkpoint(tmp_path, "x"), itertools.count().__next__, seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.remaining_s for p in seen] == [3.0, 2.0, 1.0, 0.0]
    assert [p.num_conversations for p in seen] == [4, 8, 12, 16]


def test_a_quantized_model_is_not_trained_on() -> None:
    model = tiny_model()
    model.quantize("w8a8")
    with pytest.raises(InvalidConfig, match="w8a8.*without quantization") as caught:
        OnePassTrainer(model, QUESTIONS, [], RECIPE)
    assert caught.value.field == "quantization"
