"""``descant trial``: what challengers on live traffic have shown so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.release import SideSummary, TrialReport, TrialRow


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant trial trial.jsonl --most 0.05")(trial)


def trial(
    log: Annotated[Path, typer.Argument(help="The file of descant serve --trial-log.")],
    most: Annotated[
        float, typer.Option(min=0.0001, max=0.9999, help="Share of disagreement allowed.")
    ] = 0.05,
    json: JsonOption = False,
) -> None:
    """Compare champions and challengers on what callers asked; exit code 4 where a trial must stop.

    May be looked at as often as one likes: the intervals hold at all looks, and for all indicators.
    """
    from descant.cli.terminal import Terminal
    from descant.release import read_trial
    from descant.schema.errors import ReleaseRefused

    terminal = Terminal()
    report = read_trial(log, most)
    if json:
        terminal.print_json(report.to_json())
    else:
        terminal.print(_table(report))
    if report.must_stop:
        stopped = [row.indicator for row in report.rows if row.disagreement.outcome == "stop"]
        raise ReleaseRefused(
            f"Challengers disagree more than is allowed: {', '.join(stopped)}.",
            remedy="Set --shadow and --canary to 0, and look at where they disagree.",
        )


def _table(report: TrialReport) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Champion and challenger on live traffic",
        caption="In brackets: an interval that holds at all looks, for all indicators.",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("indicator", overflow="fold")
    for heading in ("pairs", "disagree", "so far", "unanswered", "confidence", "mirror"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(row.indicator, *_cells(row))
    return table


def _cells(row: TrialRow) -> list[str]:
    found = row.disagreement.estimate
    value = 0.0 if found.value is None else found.value
    sides = (row.champion, row.challenger)
    return [
        str(found.count),
        f"{value:.1%} [{found.low:.1%}, {found.high:.1%}]",
        row.disagreement.outcome,
        " / ".join(f"{side.unanswered_share:.1%}" for side in sides),
        " / ".join(map(_confidence, sides)),
        f"{row.mirror_s * 1e3:,.0f} ms",
    ]


def _confidence(side: SideSummary) -> str:
    return "-" if side.mean_confidence is None else f"{side.mean_confidence:.2f}"
