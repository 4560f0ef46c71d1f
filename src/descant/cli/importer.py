"""``descant import``: conversations in other people's formats to Descant's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from descant.cli.import_options import (
    CheckedIndicatorsOption,
    FormatOption,
    IdColumnOption,
    LabelColumnOption,
    LabelsOption,
    OutputOption,
    RedactOption,
    RenameOption,
    SourceArgument,
    SpeakerColumnOption,
    TextColumnOption,
)
from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.data import ImportSummary, Redact

_NUM_SHOWN = 8


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant import calls --labels labels.csv --output calls.jsonl"
    app.command("import", epilog=f"Example:  {example}")(import_)


def import_(  # noqa: PLR0913 - an option each
    source: SourceArgument,
    output: OutputOption,
    format: FormatOption = None,
    labels: LabelsOption = None,
    indicators: CheckedIndicatorsOption = None,
    rename: RenameOption = None,
    redact: RedactOption = False,
    id_column: IdColumnOption = "id",
    text_column: TextColumnOption = "text",
    speaker_column: SpeakerColumnOption = None,
    label_column: LabelColumnOption = None,
    json: JsonOption = False,
) -> None:
    """Read calls and chats from recognizers, captions, tables or data sets, and write JSON lines.

    All or nothing: a mistake in any file is told with its place, and no file is written.
    """
    from descant.cli.terminal import Terminal
    from descant.data import (
        ImportSteps,
        ReadOptions,
        TableLayout,
        open_import,
        read_labels,
        unredacted,
        write_jsonl,
    )
    from descant.schema import load_indicators

    terminal = Terminal()
    known = () if indicators is None else load_indicators(indicators)
    layout = TableLayout(id_column, text_column, speaker_column, tuple(label_column or ()))
    steps = ImportSteps(
        options=ReadOptions(layout, known),
        speakers=dict(map(parse_rename, rename or ())),
        labels=None if labels is None else read_labels(labels, known),
        redact=_redacting() if redact else unredacted,
    )
    opened = open_import(source, format, steps, beside=[output])
    _check_output(source, output)
    terminal.note(f"Reading {source} as {opened.about}")
    with terminal.progress("Importing", "files") as advance:
        write_jsonl(output, opened.rows(advance))
    if json:
        terminal.print_json({**opened.summary.to_json(), "output": str(output)})
    else:
        terminal.print(summary_table(f"{source} to {output}", opened.summary))


def _redacting() -> Redact:
    from descant.data import Redactor

    redactor = Redactor()
    return lambda transcript: redactor.redact(transcript).transcript


def summary_table(title: str, summary: ImportSummary) -> Table:
    """Return what came in: conversations, turns, speakers and labels; and what did not."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("came in", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("of these")
    speakers = [f"{name} {count:,}" for name, count in summary.turns_of.most_common()]
    table.add_row("conversations", f"{summary.conversations:,}", f"files {summary.files:,}")
    table.add_row("turns", f"{summary.turns_of.total():,}", _shortened(speakers))
    for name in sorted(summary.labels):
        counts = summary.labelled(name)
        num_labelled = summary.conversations - counts.get(None, 0)
        given = [f"{label or 'no label'} {count:,}" for label, count in counts.items()]
        table.add_row(f"labels: {name}", f"{num_labelled:,}", _shortened(given))
    for what, ids in _left_out(summary).items():
        table.add_row(f"left out: {what}", f"{len(ids):,}", _shortened(ids))
    if summary.other_files:
        table.add_row("left out: files of other kinds", f"{summary.other_files:,}")
    if summary.labels_unused:
        table.add_row("left out: labels of no conversation", f"{summary.labels_unused:,}")
    return table


def parse_rename(option: str) -> tuple[str, str]:
    """Return both names of ``OLD=NEW``.

    Raises:
        InvalidConfig: one is missing.
    """
    from descant.schema.errors import InvalidConfig

    old, _, new = option.partition("=")
    if not old.strip() or not new.strip():
        raise InvalidConfig(
            f"--rename {option!r} is not OLD=NEW.",
            field="rename",
            remedy='Write for example --rename "speaker 0=agent".',
        )
    return old.strip(), new.strip()


def _left_out(summary: ImportSummary) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for key, reason in summary.left_out.items():
        ids.setdefault(reason, []).append(key)
    return ids


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _NUM_SHOWN
    return ", ".join(names[:_NUM_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _check_output(source: Path, output: Path) -> None:
    from descant.schema.errors import InvalidConfig

    if output.resolve() == source.resolve():
        raise InvalidConfig(
            f"{output} is what would be read.",
            field="output",
            remedy="Name another file with --output.",
        )
