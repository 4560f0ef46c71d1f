"""A teacher that can be asked: where it is, what may be spent on it, and what it has said."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from descant.distillation.answer_store import AnswerStore, Kept
from descant.distillation.asker import Asker, Patience
from descant.distillation.budget import Budget, Cost, Limits, Prices
from descant.distillation.cooldown import Cooldown
from descant.distillation.endpoint import Endpoint
from descant.distillation.labelling import Asked, Effort, Labelling, Question
from descant.distillation.teacher import Teacher
from descant.distillation.votes import Verdict

_LONGEST_WAIT_S = 600.0


@dataclass(frozen=True)
class Source:
    """A teacher, where it is, and what may be spent on it."""

    teacher: Teacher
    url: str
    key: str | None = field(repr=False)
    answers: Path
    """Answers are kept here; what is in it is not asked again, and its costs count."""
    limits: Limits
    prices: Prices
    concurrency: int
    timeout_s: float


@dataclass(frozen=True)
class Answered:
    """What is known of one question, from this run or before."""

    verdicts: Mapping[str, Verdict | None]
    """By indicator name; None where nothing is known."""
    reasons: Mapping[str, str]
    """Why nothing is known, by indicator name, where it was asked in this run."""
    kept: tuple[Kept, ...]
    """The answers that this came from."""


@dataclass(frozen=True)
class SourceRun:
    """What a teacher has said, in this run and before."""

    answered: tuple[Answered, ...]
    """One for each question."""
    asked: Asked
    spent: Cost

    @property
    def verdicts(self) -> list[Mapping[str, Verdict | None]]:
        """One for each question, by indicator name."""
        return [each.verdicts for each in self.answered]


async def ask_source(
    source: Source,
    questions: Sequence[Question],
    on_progress: Callable[[int, int, Cost], None] = lambda done, total, spent: None,
) -> SourceRun:
    """Ask what has no answer yet; `on_progress` gets requests done, all of them, and what is spent.

    Raises:
        InvalidConfig: the address, a limit or the file of answers cannot be used.
        InvalidData: the file of answers is not one.
    """
    with AnswerStore(source.answers) as store:
        budget = Budget(source.limits, source.prices, store.spent)
        async with Endpoint(source.url, source.key, source.timeout_s) as endpoint:
            asker = _asker(source, endpoint, store, budget)
            labelling = Labelling(source.teacher, asker, store, Effort(source.concurrency))
            asked = await labelling.run(
                questions, lambda done, total: on_progress(done, total, budget.spent)
            )
        answered = tuple(_answered(labelling, store, asked, each) for each in questions)
        return SourceRun(answered, asked, budget.spent)


def _asker(source: Source, endpoint: Endpoint, store: AnswerStore, budget: Budget) -> Asker:
    patience, chance = Patience(), random.Random()
    cooldown = Cooldown(
        _LONGEST_WAIT_S,
        lambda refusals: patience.pause_s(refusals, chance),
        time.monotonic,
        asyncio.sleep,
    )
    return Asker(source.teacher, endpoint, store, budget, cooldown, patience, asyncio.sleep, chance)


def _answered(
    labelling: Labelling, store: AnswerStore, asked: Asked, question: Question
) -> Answered:
    keys = labelling.keys(*question)
    reasons = {
        name: asked.reasons[key]
        for key, names in keys.items()
        if key in asked.reasons
        for name in names
    }
    kept = tuple(each for key in keys if (each := store.kept(key)) is not None)
    return Answered(labelling.verdicts(*question), reasons, kept)
