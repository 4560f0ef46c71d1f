from __future__ import annotations

import random
from dataclasses import replace

import pytest

from descant.data import Example
from descant.training import Hyperparameters, OnePassTrainer, Question
from descant.training.estimate import run_shape
from descant.training.objective import TailBatch
from descant.training.readings import Reading
from descant.training.schedule import Batch
from descant.training.workload import RunShape, plan_workload
from tests.tiny import INVOCATION, tiny_model

MODEL = tiny_model()
QUESTIONS = [
    Question("often", INVOCATION, ((10,), (11,))),
    Question("seldom", INVOCATION, ((12,), (13,))),
    Question("long", INVOCATION, ((14, 15), (14, 16, 18), (17,))),
]
SETTINGS = Hyperparameters(rank=2, epochs=2, min_steps=5, batch_conversations=4)


def examples(count: int) -> list[Example]:
    generator = random.Random(1)
    rows = []
    for index in range(count):
        prefix = tuple(generator.randrange(30, 60) for _ in range(generator.randrange(3, 20)))
        targets = {"often": index % 2}
        if index % 4 == 0:
            targets["seldom"] = index % 8 // 4
        if index % 3:
            targets["long"] = index % 3
        rows.append(Example(f"call-{index:03}", prefix, targets))
    return rows


class Counting(OnePassTrainer):
    """Counts the tokens of the tails that go through the model."""

    num_tail_tokens = 0

    def forward(self, tails: TailBatch, readings: list[Reading], adapters: object) -> object:
        self.num_tail_tokens += tails.token_ids.numel()
        return super().forward(tails, readings, adapters)  # type: ignore[arg-type]


@pytest.mark.parametrize("cache_bytes", [0, 6000, 1 << 30])
def test_the_arithmetic_is_what_a_run_does(cache_bytes: int) -> None:
    settings = replace(SETTINGS, reading_cache_bytes=cache_bytes)
    trainer = Counting(MODEL, QUESTIONS, examples(14), settings)
    planned = plan_workload(run_shape(trainer))
    for batch in trainer.batches:
        trainer.train_step(batch)
    assert planned.steps == trainer.step
    assert planned.read_tokens == trainer.readings.num_tokens_read
    assert planned.tail_tokens == trainer.num_tail_tokens
    assert planned.readings_bytes == trainer.readings.num_bytes
    assert (planned.read_again > 0) == (cache_bytes < 1 << 30)


def test_a_small_run_by_hand() -> None:
    shape = RunShape(
        batches=[Batch((0, 1), (0, 1)), Batch((0,), (0,)), Batch((1,), (1,))],
        conversation_tokens=[100, 50],
        labelled=[{0, 1}, {1}],
        question_tokens=[3, 5],
        reading_bytes_per_token=2,
        reading_cache_bytes=200,
    )
    work = plan_workload(shape)
    assert (work.adapters, work.conversations, work.steps) == (2, 2, 3)
    assert work.transcript_tokens == 150
    # The first fits, the second is read twice.
    assert work.read_tokens == 100 + 50 + 50
    assert (work.readings_bytes, work.read_again) == (200, 1)
    assert work.tail_tokens == 5 * 2 * 2 + 3 + 5
    assert work.one_by_one_tokens == (103 + 105 + 55) + 103 + 55
    assert work.total_tokens == 228
    assert work.ratio == pytest.approx(421 / 228)
    assert work.to_json()["ratio"] == work.ratio
