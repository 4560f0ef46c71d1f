"""What a command says: results on standard output, everything else on standard error.

Colours and moving bars appear on a terminal only; elsewhere progress is a line now and then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from descant.schema import DescantError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH_OF_FILES = 120
_LINE_INTERVAL_S = 5.0


class OnProgress(Protocol):
    """Told how much is done of how much, and anything worth adding."""

    def __call__(self, done: int, total: int, remark: str = "", /) -> None:
        """Show it."""
        ...


class Terminal:
    """Both outputs of one command; import of rich waits until one is used."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._started = clock()

    def print(self, *parts: RenderableType) -> None:
        """Print text or tables for people on standard output."""
        self._console().print(*parts, markup=False, highlight=False)

    def print_json(self, value: Any) -> None:
        """Print one JSON value on one line of standard output."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say on standard error what is going on, with the seconds since the command began."""
        elapsed = f"[{self._clock() - self._started:6.1f} s]"
        self._console(stderr=True).print(elapsed, text, markup=False, highlight=False, style="dim")

    def error(self, error: DescantError) -> None:
        """Say on standard error what went wrong and what to do about it."""
        console = self._console(stderr=True)
        console.print("Error:", error.message, markup=False, highlight=False, style="red")
        if error.remedy:
            console.print(error.remedy, markup=False, highlight=False)

    @contextmanager
    def progress(self, label: str, unit: str) -> Iterator[OnProgress]:
        """Show how far something is, how fast it goes and how long it will take."""
        console = self._console(stderr=True)
        if console.is_terminal:
            with _bar(console, f"{label} {unit}") as advance:
                yield advance
        else:
            yield _Lines(console, label, unit, self._clock)

    def _console(self, stderr: bool = False) -> Console:
        from rich.console import Console

        console = Console(stderr=stderr)
        if console.is_terminal or "COLUMNS" in os.environ:
            return console
        # A file has no width; 80 columns would cut tables that a pager could show.
        return Console(stderr=stderr, width=_WIDTH_OF_FILES)


@contextmanager
def _bar(console: Console, label: str) -> Iterator[OnProgress]:
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[remark]}", style="dim"),
    )
    with bars.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(label, total=None, rate="", remark="")

        def advance(done: int, total: int, remark: str = "", /) -> None:
            speed = shown.tasks[0].speed
            rate = _pace(speed) if speed else ""
            shown.update(task, completed=done, total=total, rate=rate, remark=remark)

        yield advance


class _Lines:
    """Progress as plain lines, one every few seconds and one at the end."""

    def __init__(self, console: Console, label: str, unit: str, clock: Callable[[], float]):
        self._console = console
        self._label = label
        self._unit = unit
        self._clock = clock
        self._started = self._said = clock()
        self._first: int | None = None

    def __call__(self, done: int, total: int, remark: str = "", /) -> None:
        now = self._clock()
        # A resumed run begins in the middle; what was done before is no part of the rate.
        self._first = done - 1 if self._first is None else self._first
        if done < total and now - self._said < _LINE_INTERVAL_S:
            return
        self._said = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = f", {_minutes((total - done) / rate)} left" if done < total else ""
        text = f"{self._label}: {done}/{total} {self._unit}, {_pace(rate)}{left}"
        self._console.print(f"{text}  {remark}".rstrip(), markup=False, highlight=False)


def _pace(per_s: float) -> str:
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{1 / per_s:.1f} s each"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
