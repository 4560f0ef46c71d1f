"""``descant score``: scorecards for a file of conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from descant.cli.options import (
    DEFAULT_ADAPTERS,
    DEFAULT_MODEL,
    AdaptersOption,
    IndicatorsOption,
    JsonOption,
    KvDtypeOption,
    ModelOption,
    QuantizationOption,
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant score calls.jsonl --json > scorecards.jsonl")(score)


def score(
    file: Annotated[Path, typer.Argument(help="Conversations, one JSON object a line.")],
    indicators: IndicatorsOption = None,
    adapters: AdaptersOption = DEFAULT_ADAPTERS,
    model: ModelOption = DEFAULT_MODEL,
    quantization: QuantizationOption = None,
    kv_dtype: KvDtypeOption = "model",
    json: JsonOption = False,
) -> None:
    """Print a scorecard for every conversation; with --json one object a line."""
    from descant.cli.cards import scorecard_table
    from descant.cli.loading import load_llm, read_rows
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    rows = read_rows(file)
    llm = load_llm(terminal, model, adapters, quantization, kv_dtype)
    transcripts = [row.transcript for row in rows]
    with terminal.progress("Scoring", "conversations") as advance:
        for done, card in enumerate(llm.score_many(transcripts, indicators), start=1):
            if json:
                terminal.print_json(card.to_json())
            else:
                terminal.print(scorecard_table(card), "")
            advance(done, len(rows))
