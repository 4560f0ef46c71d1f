from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.model import load_model
from descant.schema import load_indicators
from descant.schema.errors import OverBudget
from descant.text import Renderer, Tokenizer
from descant.training import (
    Budget,
    Hyperparameters,
    Lessons,
    MemoryEstimate,
    OnePassTrainer,
    Rehearsal,
    RunEstimate,
    Workload,
    check_budget,
    estimate_run,
)
from descant.training.estimate import run_shape
from descant.training.rehearsal import rehearse
from tests.cli.tiny_folder import HEAD, HIDDEN, KV_HEADS, calls, write_indicators, write_model
from tests.tiny import tiny_model
from tests.training.test_workload import QUESTIONS, SETTINGS, examples

WORK = Workload(
    adapters=2,
    conversations=10,
    steps=20,
    transcript_tokens=1000,
    read_tokens=1000,
    tail_tokens=400,
    one_by_one_tokens=9000,
    readings_bytes=3_000,
    read_again=0,
)
TRIED = Rehearsal(
    steps=2,
    read_tokens=100,
    read_s=1.0,
    tail_tokens=80,
    tail_s=4.0,
    step_bytes=5_000,
    readings_bytes=300,
    resident_bytes=None,
)
ESTIMATE = RunEstimate(WORK, MemoryEstimate(1_000, 2_000, 3_000, 5_000, 9_000), TRIED)


class Clock:
    """Every look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_the_rest_takes_as_long_as_what_was_tried() -> None:
    assert TRIED.reading_s(WORK) == 10.0
    assert TRIED.learning_s(WORK) == 20.0
    assert ESTIMATE.time_s == 30.0
    assert ESTIMATE.memory.total_bytes == 20_000
    assert json.loads(json.dumps(ESTIMATE.to_json()))["memory"]["total_bytes"] == 20_000


def test_a_run_within_its_budget_passes() -> None:
    check_budget(ESTIMATE, Budget())
    check_budget(ESTIMATE, Budget(time_s=30.0, memory_bytes=20_000))


def test_a_run_over_its_budget_is_refused_with_the_figures() -> None:
    with pytest.raises(OverBudget, match=r"time: about 30 s of 29 s\."):
        check_budget(ESTIMATE, Budget(time_s=29.0, memory_bytes=20_000))
    large = replace(ESTIMATE, memory=MemoryEstimate(0, 0, 0, 0, 3_000_000_000))
    with pytest.raises(OverBudget, match=r"time: .* and memory: about 3\.00 GB of 2\.00 GB"):
        check_budget(large, Budget(time_s=29.0, memory_bytes=2_000_000_000))


def test_a_rehearsal_tries_the_run_within_its_limit() -> None:
    trainer = OnePassTrainer(tiny_model(), QUESTIONS, examples(14), SETTINGS)
    shape = run_shape(trainer)
    short = rehearse(trainer, shape, Clock(), limit_s=3.5)
    # Four looks at the clock a step, the last one to see whether there is time for another.
    assert short.steps == 1
    trainer = OnePassTrainer(tiny_model(), QUESTIONS, examples(14), SETTINGS)
    whole = rehearse(trainer, shape, Clock(), limit_s=1e9)
    assert whole.steps == min(16, len(trainer.batches))
    assert (whole.read_s, whole.tail_s) == (whole.steps, whole.steps)
    largest = max(shape.tail_tokens(batch) for batch in shape.batches)
    assert 0 < whole.tail_tokens <= whole.steps * largest
    assert whole.readings_bytes >= trainer.readings.num_bytes
    batches = [shape.batches[at * len(shape.batches) // whole.steps] for at in range(whole.steps)]
    read = [shape.conversation_tokens[at] for batch in batches for at in batch.conversations]
    assert whole.read_tokens == sum(read)
    # At least the tails' hidden states of every layer stay for the way back, in float32.
    assert whole.step_bytes > largest * 32 * 4 * 2


def test_memory_follows_from_shapes(tmp_path: Path) -> None:
    base = load_model(write_model(tmp_path / "model"))
    renderer = Renderer(Tokenizer.load(base.folder))
    indicators = load_indicators(write_indicators(tmp_path / "indicators"))
    settings = Hyperparameters(rank=4, target_modules=("o_proj",), epochs=1, min_steps=1)
    rows = calls("train", 16)
    lessons = Lessons(base, "tiny", renderer, rows, indicators, settings)
    estimate = estimate_run(lessons, Clock(), limit_s=1.0)
    memory, work = estimate.memory, estimate.workload
    assert memory.weights_bytes == sum(p.nbytes for p in base.model.parameters())
    # Two layers, rank * (in + out); parameter, gradient and two moments in float32, two in bfloat16.
    assert memory.adapters_bytes == 2 * (2 * 4 * 2 * HIDDEN) * 20
    per_token = 2 * 2 * KV_HEADS * HEAD * torch.bfloat16.itemsize
    assert memory.readings_bytes == work.transcript_tokens * per_token
    assert work.read_tokens == work.transcript_tokens
    assert memory.step_bytes >= estimate.rehearsal.step_bytes > 0
    resident = estimate.rehearsal.resident_bytes
    assert resident is None or memory.other_bytes < resident


def test_what_is_tried_does_not_depend_on_how_much_is_kept() -> None:
    none = replace(SETTINGS, reading_cache_bytes=0)
    kept, again = (
        rehearse(trainer, run_shape(trainer), Clock(), limit_s=1e9)
        for trainer in (
            OnePassTrainer(tiny_model(), QUESTIONS, examples(14), settings)
            for settings in (SETTINGS, none)
        )
    )
    assert replace(kept, resident_bytes=None) == replace(again, resident_bytes=None)
