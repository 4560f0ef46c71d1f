"""The options of ``descant import``, in the groups that its help shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TABLES = "Tables (csv, parquet)"

SourceArgument = Annotated[Path, typer.Argument(help="A file, or a folder of files.")]
OutputOption = Annotated[Path, typer.Option(help="The file to write, .jsonl or .jsonl.gz.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="One of csv, parquet, openai-chat, webvtt, srt, deepgram, transcribe, contact-lens, "
        "descant, star, multidogo, taskmaster.",
        show_default="what the files look like",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of labels: a column id, and one for each indicator.", show_default=False
    ),
]
CheckedIndicatorsOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of indicator files; every label is checked against them.", show_default=False
    ),
]
RedactOption = Annotated[
    bool,
    typer.Option(
        "--redact",
        help="Take cards, accounts, phone numbers, mail addresses and speakers' names out before "
        "anything is written; descant redact has more options.",
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OLD=NEW",
        help="Give a speaker another name; may be given several times.",
        show_default=False,
    ),
]
IdColumnOption = Annotated[
    str, typer.Option(help="Which conversation a row belongs to.", rich_help_panel=_TABLES)
]
TextColumnOption = Annotated[
    str,
    typer.Option(
        help='What was said; without speakers, lines of "Speaker: text".', rich_help_panel=_TABLES
    ),
]
SpeakerColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Who says it.", show_default="speaker, if there is one", rich_help_panel=_TABLES
    ),
]
LabelColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A column of labels; may be given several times.",
        show_default="those named as an indicator",
        rich_help_panel=_TABLES,
    ),
]
