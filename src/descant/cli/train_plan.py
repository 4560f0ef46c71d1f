"""What a recipe will train on and what that takes: the counts, tokens, memory and time of a dry run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from descant.cli.data import balance_table
from descant.cli.loading import Base, read_rows
from descant.cli.terminal import Terminal
from descant.data import (
    Fractions,
    check_leakage,
    check_learnable,
    count_labels,
    find_near_duplicates,
    label_names,
    named,
    split_rows,
    unlabelled_ids,
    validate_labels,
)
from descant.schema import Indicator, LabelledTranscript, load_indicators
from descant.schema.errors import InvalidConfig, InvalidData, join_errors
from descant.training import Lessons, Recipe, RunEstimate, check_budget, estimate_run, trainer_for


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe with its data read and checked; no model is needed for that."""

    recipe: Recipe
    indicators: tuple[Indicator, ...]
    rows: list[LabelledTranscript]
    """To learn from."""
    dev_rows: list[LabelledTranscript]
    left_out: tuple[str, ...]
    """Conversations without a label for any of the indicators."""

    @classmethod
    def of(cls, recipe: Recipe) -> TrainingPlan:
        """Read and check what the recipe names.

        Raises:
            InvalidData: a file, label or indicator cannot be used; names conversations and fields.
            LabelLeak: a label can be read in the text that would be sent to the model.
            MissingDependency: nothing here trains by the recipe's method.
        """
        trainer_for(recipe.method)
        indicators = load_indicators(recipe.indicators)
        rows, dev_rows = _read(recipe)
        validate_labels([*rows, *dev_rows], indicators)
        check_leakage([*rows, *dev_rows], indicators)
        check_learnable(rows, indicators)
        return cls(recipe, indicators, rows, dev_rows, unlabelled_ids(rows, indicators))

    def warnings(self) -> Iterator[str]:
        """Yield what can be trained as it is but hardly well."""
        for counted in count_labels(self.rows, self.indicators):
            if counted.warning:
                yield f"{counted.indicator}: {counted.warning}"
        copies = self._copies()
        if copies:
            yield f"{self.recipe.data.dev}: nearly the same as in {self.recipe.data.train}: {copies}"
        asked = {indicator.name for indicator in self.indicators}
        for name, count in label_names(self.rows).items():
            if name not in asked:
                yield f"{name}: {count} labels without an indicator file; not trained"

    def estimate(self, terminal: Terminal, base: Base) -> RunEstimate:
        """Return what the run will take; tries some of it.

        Raises:
            InvalidConfig: the method is another than one_pass, or there is a reader.
            ContextTooLong: a conversation is longer than the model reads.
        """
        if self.recipe.method != "one_pass" or self.recipe.reader is not None:
            what = "a reader" if self.recipe.method == "one_pass" else self.recipe.method
            raise InvalidConfig(
                f"What {what} takes is not estimated, only one_pass behind the base model is.",
                field="method",
                remedy="Train without --dry-run and [budget].",
            )
        terminal.note("Trying a few readings and steps on this machine")
        lessons = Lessons(
            base.model,
            base.name,
            base.renderer,
            self.rows,
            self.indicators,
            self.recipe.training,
        )
        return estimate_run(lessons, time.perf_counter)

    def check_budget(self, terminal: Terminal, base: Base) -> None:
        """Refuse a run over its budget; without one nothing is estimated.

        Raises:
            OverBudget: says what the run would take.
        """
        if self.recipe.budget.is_limited:
            check_budget(self.estimate(terminal, base), self.recipe.budget)

    def show(self, terminal: Terminal, base: Base, json: bool) -> None:
        """Print the plan, and refuse it if it is over its budget.

        Raises:
            OverBudget: the figures are printed before.
        """
        estimate = self.estimate(terminal, base)
        if json:
            terminal.print_json({**self.to_json(), **estimate.to_json()})
        else:
            title = f"Labels of {len(self.rows)} conversations to learn from"
            table = balance_table(count_labels(self.rows, self.indicators), title)
            terminal.print(table, *self._remarks(), _cost_table(estimate))
        check_budget(estimate, self.recipe.budget)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {
            "base": self.recipe.base,
            "method": self.recipe.method,
            "output": str(self.recipe.output),
            "conversations": len(self.rows),
            "dev_conversations": len(self.dev_rows),
            "left_out": list(self.left_out),
            "labels": [asdict(counted) for counted in count_labels(self.rows, self.indicators)],
        }

    def _copies(self) -> str:
        """Return whom dev has nearly the same conversations of as there are to learn from."""
        rows = [*self.rows, *self.dev_rows]
        learned = {row.transcript.id for row in self.rows}
        groups = find_near_duplicates([row.transcript for row in rows]) if self.dev_rows else ()
        return named(
            [
                name
                for group in groups
                if not learned.isdisjoint(group.ids)
                for name in group.ids
                if name not in learned
            ]
        )

    def _remarks(self) -> Iterator[str]:
        if self.dev_rows:
            yield f"{len(self.dev_rows)} conversations are kept apart (dev)."
        if self.left_out:
            yield f"Left out, without a label for any of the indicators: {named(self.left_out)}"


def _read(recipe: Recipe) -> tuple[list[LabelledTranscript], list[LabelledTranscript]]:
    rows = read_rows(recipe.data.train)
    if recipe.data.dev is not None:
        dev_rows = read_rows(recipe.data.dev)
        _check_apart(rows, dev_rows, recipe.data.dev)
        return rows, dev_rows
    share = recipe.data.dev_share
    if share == 0:
        return rows, []
    # Nearly the same conversation on both sides would be judged by memory.
    groups = find_near_duplicates([row.transcript for row in rows])
    together = [group.ids for group in groups]
    splits = split_rows(rows, Fractions(1 - share, share, 0.0), together=together)
    return splits["train"], splits["dev"]


def _check_apart(
    rows: list[LabelledTranscript], dev_rows: list[LabelledTranscript], path: Path
) -> None:
    learned = {row.transcript.id for row in rows}
    twice = [
        InvalidData(
            f"{path}: conversation {row.transcript.id!r} is in data.train too.",
            field="data.dev",
            remedy="Keep it in one of the two.",
        )
        for row in dev_rows
        if row.transcript.id in learned
    ]
    if twice:
        raise join_errors(twice)


def _cost_table(estimate: RunEstimate) -> Table:
    work, tried = estimate.workload, estimate.rehearsal
    table = Table(
        title="What it will take",
        box=SIMPLE_HEAD,
        show_header=False,
        caption=f"Time: from {tried.steps} of the {work.steps} steps, tried here on your data in "
        f"{tried.read_s + tried.tail_s:.1f} s. Memory: by arithmetic; a step and other as tried.",
    )
    table.add_column("what")
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("how")
    for row in (*_token_rows(estimate), ("", "", ""), *_memory_rows(estimate), ("", "", "")):
        table.add_row(*row)
    table.add_row("time", _duration(estimate.time_s), "")
    table.add_row("  reading", _duration(tried.reading_s(work)), "")
    table.add_row("  learning", _duration(tried.learning_s(work)), "")
    return table


def _token_rows(estimate: RunEstimate) -> Iterator[tuple[str, str, str]]:
    work = estimate.workload
    again = f", {work.read_again:,} of them at every visit" if work.read_again else ""
    yield "tokens", f"{work.total_tokens:,}", ""
    yield "  read", f"{work.read_tokens:,}", f"{work.conversations:,} conversations{again}"
    yield "  tails", f"{work.tail_tokens:,}", f"{work.adapters} adapters, {work.steps:,} steps"
    yield "  one by one", f"{work.one_by_one_tokens:,}", f"{work.ratio:.1f} times as many"


def _memory_rows(estimate: RunEstimate) -> Iterator[tuple[str, str, str]]:
    memory = estimate.memory
    yield "memory", _gigabytes(memory.total_bytes), ""
    yield "  base model", _gigabytes(memory.weights_bytes), ""
    yield "  adapters", _gigabytes(memory.adapters_bytes), "gradients and optimizer with them"
    yield "  readings", _gigabytes(memory.readings_bytes), "kept over the epochs"
    yield "  a step", _gigabytes(memory.step_bytes), "the largest one"
    yield "  other", _gigabytes(memory.other_bytes), "Python and its libraries"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
