"""A teacher asked from the command line: its answers so far, and what they have cost."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.cli.terminal import Terminal
from descant.distillation import (
    AnswerStore,
    Asked,
    Asker,
    Budget,
    Cooldown,
    Cost,
    Effort,
    Endpoint,
    Labelling,
    Limits,
    Patience,
    Prices,
    Teacher,
    Verdict,
)
from descant.schema import Indicator, LabelledTranscript

KEY_VARIABLE = "DESCANT_TEACHER_KEY"
_LONGEST_WAIT_S = 600.0


@dataclass(frozen=True)
class Source:
    """A teacher, where it is, and what may be spent on it."""

    teacher: Teacher
    url: str
    answers: Path
    limits: Limits
    prices: Prices
    concurrency: int
    timeout_s: float


@dataclass(frozen=True)
class TeacherRun:
    """What a teacher has said about some conversations, in this run and before."""

    verdicts: Sequence[Mapping[str, Verdict | None]]
    """One for each conversation, by indicator name; None where nothing is known."""
    asked: Asked
    spent: Cost


def ask_teacher(
    terminal: Terminal,
    source: Source,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
) -> TeacherRun:
    """Ask what has not been answered yet, with progress on the terminal."""
    endpoint = Endpoint(source.url, os.environ.get(KEY_VARIABLE), source.timeout_s)
    terminal.note(
        f"Asking {source.url}: {len(indicators)} indicators, {len(rows)} conversations; "
        f"answers are kept in {source.answers}"
    )
    try:
        return asyncio.run(_ask(terminal, source, endpoint, rows, indicators))
    except KeyboardInterrupt:
        terminal.note(f"What was answered is in {source.answers}; the same command goes on there.")
        raise


async def _ask(
    terminal: Terminal,
    source: Source,
    endpoint: Endpoint,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
) -> TeacherRun:
    transcripts = [row.transcript for row in rows]
    with AnswerStore(source.answers) as store, terminal.progress("Asking", "requests") as advance:
        budget = Budget(source.limits, source.prices, store.spent)
        patience, source_of_chance = Patience(), random.Random()
        cooldown = Cooldown(
            _LONGEST_WAIT_S,
            lambda refusals: patience.pause_s(refusals, source_of_chance),
            time.monotonic,
            asyncio.sleep,
        )
        async with endpoint:
            asker = Asker(
                source.teacher,
                endpoint,
                store,
                budget,
                cooldown,
                patience,
                asyncio.sleep,
                source_of_chance,
            )
            labelling = Labelling(source.teacher, asker, store, Effort(source.concurrency))
            asked = await labelling.run(
                transcripts,
                indicators,
                lambda done, total: advance(done, total, spending(budget.spent)),
            )
        verdicts = [labelling.verdicts(transcript, indicators) for transcript in transcripts]
        return TeacherRun(verdicts, asked, budget.spent)


def spending(cost: Cost) -> str:
    """Return what was spent, for people."""
    tokens = f"{cost.read_tokens:,} tokens read, {cost.written_tokens:,} written"
    return f"{tokens}, {cost.money:.4f} spent" if cost.money else tokens
