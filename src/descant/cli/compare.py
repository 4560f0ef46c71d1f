"""``descant compare``: the same indicators on several bases and ranks, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from descant.cli.compare_report import CompareReport
    from descant.cli.terminal import Terminal
    from descant.evaluation import Task


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = (
        "descant compare recipe.toml --test test.jsonl --base smollm2-135m-instruct "
        "--base models/qwen2.5-0.5b --rank 4 --rank 16"
    )
    app.command(epilog=f"Example:  {example}")(compare)


def compare(  # noqa: PLR0913 - an option each
    recipe: Annotated[Path, typer.Argument(help="The recipe (TOML); its method is one_pass.")],
    test: Annotated[
        Path, typer.Option(help="Labelled conversations to judge on, apart from the recipe's.")
    ],
    base: Annotated[
        list[str] | None,
        typer.Option(help="A base model; say it again for more. [default: the recipe's]"),
    ] = None,
    rank: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A rank; say it again for more. [default: the recipe's]"),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for adapters and answers; what is done there stays done.")
    ] = Path("runs/compare"),
    budget_s: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of training for all; what would not fit is left out."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(min=0, max=1, help="How much less macro-F1 is still good enough."),
    ] = 0.02,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of this machine, in your money.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train the same indicators on each base at each rank: quality beside size, speed and cost.

    Variants are trained in the order named. The answer is the smallest one that is surely not worse
    than the best by more than the margin.
    """
    from descant.cli.compare_report import CompareReport
    from descant.cli.compare_run import Comparison, Variant
    from descant.cli.terminal import Terminal
    from descant.training import load_recipe

    terminal = Terminal()
    said = load_recipe(recipe)
    task = _task(test, said.indicators)
    run = Comparison(terminal, said, task, output, budget_s)
    variants = [
        Variant(source, width)
        for source in base or [said.base]
        for width in rank or [said.training.rank]
    ]
    report = CompareReport(task, run.all(variants), margin, price_per_hour)
    _show(terminal, report, json)


def _task(test: Path, indicators: Path) -> Task:
    from descant.cli.loading import read_rows
    from descant.evaluation import Task
    from descant.schema import load_indicators

    return Task(test.stem, read_rows(test), load_indicators(indicators))


def _show(terminal: Terminal, report: CompareReport, json: bool) -> None:
    if json:
        terminal.print_json(report.to_json())
    else:
        terminal.print(*report.to_parts())
