"""``descant redact``: conversations with placeholders where personal values were."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.data import PresidioFinder, RedactionReport

_PATTERNS = "patterns"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant redact calls.jsonl --output clean.jsonl")(redact)


def redact(
    file: Annotated[Path, typer.Argument(help="Conversations, one JSON object a line.")],
    output: Annotated[Path, typer.Option(help="File for the redacted conversations.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="What to take out; may be given several times. [default: all]", show_default=False
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            help="A word of the speaker column that is no name; may be given several times.",
            show_default=False,
        ),
    ] = None,
    presidio: Annotated[
        str | None,
        typer.Option(
            help="Ask Presidio too: 'patterns', or the name of an installed spaCy pipeline, which "
            "also finds people and places that are talked about.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Take cards, accounts, phone numbers, mail addresses and speakers' names out of conversations."""
    from descant.cli.loading import read_rows
    from descant.cli.terminal import Terminal
    from descant.data import REDACTION_KINDS, RedactionConfig, Redactor, redact_rows, write_jsonl

    terminal = Terminal()
    config = RedactionConfig(tuple(kind or REDACTION_KINDS), tuple(role or ()))
    redactor = Redactor(config, more=_finders(presidio))
    rows = read_rows(file)
    with terminal.progress("Redacting", "conversations") as advance:
        clean, report = redact_rows(rows, redactor, advance)
    write_jsonl(output, clean)
    if json:
        terminal.print_json({**asdict(report), "output": str(output)})
        return
    terminal.print(_table(report))
    terminal.print(
        f"{report.changed:,} of {report.conversations:,} conversations changed, into {output}; "
        "a value counts once in each."
    )
    if report.personal_ids:
        terminal.print(
            f"{report.personal_ids} ids look like personal values themselves; ids are not changed."
        )


def _finders(presidio: str | None) -> list[PresidioFinder]:
    from descant.data import PresidioConfig, PresidioFinder

    if presidio is None:
        return []
    return [PresidioFinder(PresidioConfig(None if presidio == _PATTERNS else presidio))]


def _table(report: RedactionReport) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("taken out")
    table.add_column("values", justify="right")
    for kind, count in report.counts.items():
        table.add_row(kind, f"{count:,}")
    return table
