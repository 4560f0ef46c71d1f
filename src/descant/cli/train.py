"""``descant train``: what a recipe says, from labelled conversations to adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from descant.cli import train_init
from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from descant.cli.loading import Base
    from descant.cli.terminal import OnProgress, Terminal
    from descant.cli.train_plan import TrainingPlan
    from descant.schema import AdapterRef, Indicator, LabelledTranscript
    from descant.training import Hyperparameters, Progress, TrainingMethod


@dataclass(frozen=True)
class TrainingRun:
    """What one call of `train_adapters` made."""

    adapters: tuple[AdapterRef, ...]
    time_s: float
    """Of training alone; loading the model is not in it."""


class _RunUnlessNamed(TyperGroup):
    """`train recipe.toml` is `train run recipe.toml`: what names no command is for `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        cls=_RunUnlessNamed,
        help="Train adapters as a recipe says, or write a first recipe.",
        no_args_is_help=True,
    )
    app.command(epilog="Example:  descant train recipe.toml --dry-run")(run)
    app.command(epilog="Example:  descant train init calls.jsonl")(train_init.init)
    return app


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe (TOML).")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it will take; train nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run was stopped.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the adapters. [default: the recipe's]", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train what a recipe says (the word run may be left out); Ctrl-C saves the state for --resume.

    A first recipe comes from: descant train init DATA
    """
    from descant.cli.loading import load_base
    from descant.cli.terminal import Terminal
    from descant.cli.train_plan import TrainingPlan
    from descant.training import load_recipe

    terminal = Terminal()
    said = load_recipe(recipe)
    said = said if output is None else replace(said, output=output)
    plan = TrainingPlan.of(said)
    for warning in plan.warnings():
        terminal.note(warning)
    base = load_base(terminal, said.base)
    if dry_run:
        plan.show(terminal, base, json)
        return
    plan.check_budget(terminal, base)
    done = train_adapters(
        terminal,
        base,
        plan.rows,
        plan.indicators,
        said.training,
        said.output,
        method=said.method,
        dev_rows=plan.dev_rows,
        reader=said.reader,
        resume=resume,
    )
    _report(terminal, plan, done, json)


def train_adapters(  # noqa: PLR0913 - base, data, questions, settings and place are one each
    terminal: Terminal,
    base: Base,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    settings: Hyperparameters,
    output: Path,
    *,
    method: TrainingMethod = "one_pass",
    dev_rows: Sequence[LabelledTranscript] = (),
    reader: Path | None = None,
    resume: bool = False,
) -> TrainingRun:
    """Train with progress on the terminal.

    Raises:
        MissingDependency: nothing here trains by this method.
    """
    import time
    from datetime import UTC, datetime

    from descant.training import Clocks, Job, Lessons, trainer_for

    terminal.note(f"Training {len(indicators)} adapters on {len(rows)} conversations")
    started = time.perf_counter()
    with terminal.progress("Training", "steps") as advance:
        job = Job(
            method,
            Lessons(
                base.model, base.name, base.renderer, rows, indicators, settings, tuple(dev_rows)
            ),
            output,
            Clocks(time.perf_counter, lambda: datetime.now(tz=UTC)),
            reader,
            resume,
            lambda progress: _show(advance, progress),
        )
        adapters = trainer_for(method)(job)
    return TrainingRun(tuple(adapters), time.perf_counter() - started)


def _report(terminal: Terminal, plan: TrainingPlan, done: TrainingRun, json: bool) -> None:
    output = plan.recipe.output
    if json:
        terminal.print_json(
            {
                "adapters": [
                    {"name": adapter.name, "content_hash": adapter.content_hash}
                    for adapter in done.adapters
                ],
                "output": str(output),
                "conversations": len(plan.rows),
                "time_s": done.time_s,
            }
        )
        return
    terminal.print(f"Trained {len(done.adapters)} adapters in {done.time_s:.1f} s into {output}")
    terminal.print(
        f"Judge them:  descant evaluate TEST.jsonl --indicators {plan.recipe.indicators} "
        f"--adapters {output} --train {plan.recipe.data.train}"
    )


def _show(advance: OnProgress, progress: Progress) -> None:
    rate = progress.num_conversations / max(progress.elapsed_s, 1e-9)
    loss = "" if progress.mean_loss is None else f"loss {progress.mean_loss:.3f}, "
    advance(progress.step, progress.num_steps, f"{loss}{rate:.1f} conversations/s")
