"""The methods: each learns from the same rows and becomes a completer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.methods.prompted import PromptedBase, draw_shots
from benchmarks.methods.rows import Study
from benchmarks.star.plain_lora import train_plain_lora

from descant.evaluation import BagOfWords, Completer
from descant.llm import LLM
from descant.model import LoadedModel, LoraAdapter, load_model
from descant.schema import Indicator
from descant.text import Renderer, Tokenizer
from descant.training import (
    Clocks,
    Hyperparameters,
    Lessons,
    Progress,
    train_one_pass,
    train_reader,
)

MODEL = "smollm2-135m-instruct"
SHOTS = 4
SETTINGS = Hyperparameters(epochs=2, learning_rate=1e-3, min_steps=40, reading_cache_bytes=4 << 30)
LONGER = replace(SETTINGS, epochs=8)
FROZEN_KV = replace(
    SETTINGS, target_modules=("q_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
)


@dataclass(frozen=True)
class Work:
    """What one method is to learn, and where it may put what it makes."""

    study: Study
    indicators: tuple[Indicator, ...]
    seed: int
    folder: Path


Arm = Callable[[Work], Completer]


def bag_of_words(work: Work) -> Completer:
    """TF-IDF with logistic regression."""
    return BagOfWords.fit(work.study.train, work.indicators, work.seed)


def zero_shot(work: Work) -> Completer:
    """The base model, asked in words."""
    return PromptedBase(LLM(MODEL), {})


def few_shot(work: Work) -> Completer:
    """The same with examples from the rows that the others learn from."""
    shots = draw_shots(work.study.train, work.indicators, SHOTS, work.seed)
    return PromptedBase(LLM(MODEL), shots)


def one_pass(work: Work) -> Completer:
    """All adapters behind one shared reading."""
    return _one_pass(work, SETTINGS)


def one_pass_longer(work: Work) -> Completer:
    """The same for four times the epochs: readings are kept, so an epoch costs its tails alone."""
    return _one_pass(work, LONGER)


def frozen_kv(work: Work) -> Completer:
    """The same without the keys and values of the tail: only what is asked of the reading changes."""
    return _one_pass(work, FROZEN_KV)


def reader(work: Work) -> Completer:
    """A LoRA over the reading first, for all indicators together; then their adapters behind it."""
    settings = replace(SETTINGS, seed=work.seed)
    base = load_model(MODEL)
    lessons = _lessons(base, work, settings)
    read_by = train_reader(lessons, work.folder / "reader", clocks=_CLOCKS, on_progress=_say)
    return _one_pass(work, SETTINGS, read_by)


def plain_lora(work: Work) -> Completer:
    """LoRA from the first token on: every adapter reads for itself."""
    settings = replace(SETTINGS, seed=work.seed)
    base = load_model(MODEL)
    lessons = _lessons(base, work, settings)
    for question in lessons.questions:
        train_plain_lora(
            base, question, lessons.examples, settings, work.folder, lambda *step: None
        )
    return LLM(MODEL, adapters=work.folder)


ARMS: Mapping[str, Arm] = {
    "bag_of_words": bag_of_words,
    "zero_shot": zero_shot,
    "one_pass": one_pass,
    "one_pass_longer": one_pass_longer,
    "plain_lora": plain_lora,
    "frozen_kv": frozen_kv,
    "reader": reader,
    "single": one_pass,
    "few_shot": few_shot,
}
"""In the order they are run; `single` is one pass with one question at a time."""
ALONE = ("plain_lora", "single")
"""Those that train each indicator on its own."""
SEEDLESS = ("bag_of_words", "zero_shot")
"""Those that chance has no part in."""


def _one_pass(work: Work, settings: Hyperparameters, read_by: LoraAdapter | None = None) -> LLM:
    base = load_model(MODEL)
    lessons = _lessons(base, work, replace(settings, seed=work.seed))
    folder = work.folder / "adapters"
    train_one_pass(lessons, folder, clocks=_CLOCKS, reader=read_by, on_progress=_say)
    return LLM(MODEL, adapters=folder)


def _lessons(base: LoadedModel, work: Work, settings: Hyperparameters) -> Lessons:
    renderer = Renderer(Tokenizer.load(base.folder))
    return Lessons(base, MODEL, renderer, work.study.train, work.indicators, settings)


_CLOCKS = Clocks(time.perf_counter, lambda: datetime.now(tz=UTC))


def _say(progress: Progress) -> None:
    loss = progress.mean_loss or 0.0
    print(f"\r  {progress.step}/{progress.num_steps} loss {loss:.3f} ", end="", file=sys.stderr)
