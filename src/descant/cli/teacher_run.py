"""A teacher asked from the command line: its answers so far, and what they have cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from descant.cli.terminal import Terminal
from descant.distillation import Cost, Question, Source, SourceRun, ask_source

KEY_VARIABLE = "DESCANT_TEACHER_KEY"


def ask_teacher(terminal: Terminal, source: Source, questions: list[Question]) -> SourceRun:
    """Ask what has not been answered yet, with progress on the terminal."""
    terminal.note(
        f"Asking {source.url} about {len(questions)} conversations; "
        f"answers are kept in {source.answers}"
    )
    with asking(terminal, source.answers) as on_progress:
        return asyncio.run(ask_source(source, questions, on_progress))


@contextmanager
def asking(terminal: Terminal, answers: Path) -> Iterator[Callable[[int, int, Cost], None]]:
    """Show how far a source is and what was spent; who interrupts it learns where it goes on."""
    try:
        with terminal.progress("Asking", "requests") as advance:
            yield lambda done, total, spent: advance(done, total, spending(spent))
    except KeyboardInterrupt:
        terminal.note(f"What was answered is in {answers}; the same command goes on there.")
        raise


def spending(cost: Cost) -> str:
    """Return what was spent, for people."""
    tokens = f"{cost.read_tokens:,} tokens read, {cost.written_tokens:,} written"
    return f"{tokens}, {cost.money:.4f} spent" if cost.money else tokens
