"""``descant bench``: what sharing one reading gains and int8 costs, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.bench_part import Part
from descant.cli.options import (
    DEFAULT_MODEL,
    AdapterDtypeOption,
    JsonOption,
    KvDtypeOption,
    ModelOption,
    QuantizationOption,
)

if TYPE_CHECKING:
    from descant.cli.terminal import Terminal

AdaptersOption = Annotated[int, typer.Option(min=1, help="How many adapters.")]
RankOption = Annotated[int, typer.Option(min=1, help="Rank of the adapters.")]
RunsOption = Annotated[int, typer.Option(min=1, help="Figures are medians of this many runs.")]


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        help="Measure what one shared reading gains and what int8 costs.", no_args_is_help=True
    )
    app.command(epilog="Example:  descant bench fanout --adapters 60 --tokens 2000 --json")(fanout)
    app.command(epilog="Example:  descant bench train --adapters 12 --json")(train)
    app.command(epilog="Example:  descant bench serve --part base --json")(serve)
    app.command(epilog="Example:  descant bench perplexity --quantization w8a8 --json")(perplexity)
    return app


def fanout(
    adapters: AdaptersOption = 60,
    tokens: Annotated[int, typer.Option(min=16, help="Length of the conversation.")] = 2000,
    rank: RankOption = 16,
    runs: RunsOption = 3,
    model: ModelOption = DEFAULT_MODEL,
    quantization: QuantizationOption = None,
    json: JsonOption = False,
) -> None:
    """Time one reading, the fan-out behind it, and the same without sharing."""
    from descant.cli.bench_fanout import measure_fanout
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    figures = measure_fanout(
        model, adapters, tokens, rank, runs, quantization, time.perf_counter, terminal.note
    )
    _show(terminal, figures.to_json(), json)


def train(
    adapters: AdaptersOption = 12,
    conversations: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 16,
    tokens: Annotated[int, typer.Option(min=16, help="Length of each conversation.")] = 2000,
    rank: RankOption = 16,
    runs: RunsOption = 3,
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Time training all adapters in one pass against training one after the other."""
    from descant.cli.bench_train import measure_training
    from descant.cli.terminal import Terminal
    from descant.training import Hyperparameters

    terminal = Terminal()
    settings = Hyperparameters(
        rank=rank, epochs=1, min_steps=1, batch_conversations=min(conversations, 16)
    )
    figures = measure_training(
        model, adapters, conversations, tokens, runs, settings, time.perf_counter, terminal.note
    )
    _show(terminal, figures.to_json(), json)


def serve(  # noqa: PLR0913 - one option each
    part: Annotated[
        list[Part] | None, typer.Option(help="May be given several times. [default: all]")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Output tokens of each request.")] = 128,
    registered: Annotated[
        int, typer.Option(min=1, help="Adapters behind the Zipf traffic.")
    ] = 1000,
    requests: Annotated[int, typer.Option(min=1, help="Requests of the Zipf traffic.")] = 256,
    runs: RunsOption = 3,
    model: ModelOption = DEFAULT_MODEL,
    quantization: QuantizationOption = None,
    adapter_dtype: AdapterDtypeOption = "model",
    json: JsonOption = False,
) -> None:
    """Time decoding and prefill: the base model, adapters, and a thousand registered adapters."""
    from descant.cli.bench_serve import ServeConfig, measure_serving
    from descant.cli.bench_traffic import TrafficConfig
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    traffic = TrafficConfig(registered=registered, requests=requests)
    config = ServeConfig(output_tokens=tokens, adapter_dtype=adapter_dtype, traffic=traffic)
    parts = tuple(part or Part)
    rows = measure_serving(
        model, parts, runs, config, time.perf_counter, terminal.note, quantization
    )
    _show_rows(terminal, [row.to_json() for row in rows], json)


def _show_rows(terminal: Terminal, rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    from rich.table import Table

    if json:
        terminal.print_json(list(rows))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    terminal.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def perplexity(
    text: Annotated[
        Path | None,
        typer.Option(
            help="File of plain text. [default: the package's written sample calls]",
            show_default=False,
        ),
    ] = None,
    quantization: QuantizationOption = None,
    kv_dtype: KvDtypeOption = "model",
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Compare how well the model foretells a text, quantized and in bfloat16."""
    from descant.cli.bench_perplexity import measure_perplexity, read_text, sample_text
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    content = sample_text() if text is None else read_text(text)
    figures = measure_perplexity(model, content, quantization, kv_dtype, terminal.note)
    _show(terminal, figures.to_json(), json)


def _show(terminal: Terminal, figures: Mapping[str, Any], json: bool) -> None:
    from rich.table import Table

    if json:
        terminal.print_json(dict(figures))
        return
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, _cell(value))
    terminal.print(table)
