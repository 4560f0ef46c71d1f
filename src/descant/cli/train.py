"""``descant train``: labelled conversations to adapters, all in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import DEFAULT_MODEL, JsonOption, ModelOption, RequiredIndicatorsOption

if TYPE_CHECKING:
    from descant.cli.terminal import OnProgress, Terminal
    from descant.schema import AdapterRef, Indicator, LabelledTranscript
    from descant.training import Hyperparameters, Progress


@dataclass(frozen=True)
class TrainingRun:
    """What one call of `train_adapters` made."""

    adapters: tuple[AdapterRef, ...]
    time_s: float
    """Of training alone; loading the model is not in it."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant train calls.jsonl --indicators indicators --output runs/first/adapters"
    app.command(epilog=f"Example:  {example}")(train)


def train(
    data: Annotated[Path, typer.Argument(help="Labelled conversations, one JSON object a line.")],
    indicators: RequiredIndicatorsOption,
    output: Annotated[Path, typer.Option(help="Folder for the adapters.")],
    recipe: Annotated[Path | None, typer.Option(help="Settings of the training (TOML).")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run was stopped.")
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Train one adapter for each indicator; Ctrl-C saves the state for --resume."""
    from descant.cli.loading import read_rows
    from descant.cli.terminal import Terminal
    from descant.schema import load_indicators
    from descant.training import Hyperparameters, load_hyperparameters

    terminal = Terminal()
    settings = Hyperparameters() if recipe is None else load_hyperparameters(recipe)
    asked = load_indicators(indicators)
    rows = read_rows(data)
    run = train_adapters(terminal, model, rows, asked, settings, output, resume=resume)
    if json:
        terminal.print_json(
            {
                "adapters": [
                    {"name": adapter.name, "content_hash": adapter.content_hash}
                    for adapter in run.adapters
                ],
                "output": str(output),
                "conversations": len(rows),
                "time_s": run.time_s,
            }
        )
        return
    terminal.print(f"Trained {len(run.adapters)} adapters in {run.time_s:.1f} s into {output}")
    terminal.print(
        f"Judge them:  descant evaluate TEST.jsonl --indicators {indicators} "
        f"--adapters {output} --train {data}"
    )


def train_adapters(
    terminal: Terminal,
    model: str,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    recipe: Hyperparameters,
    output: Path,
    *,
    resume: bool = False,
) -> TrainingRun:
    """Check the data, load the model and train, with progress on the terminal.

    Raises:
        LabelLeak: a label can be read in the text that would be sent to the model.
    """
    import time
    from datetime import UTC, datetime

    from descant.data import check_leakage, validate_labels
    from descant.model import load_model
    from descant.text import Renderer, Tokenizer
    from descant.training import Clocks, Lessons, train_one_pass

    validate_labels(rows, indicators)
    check_leakage(rows, indicators)
    terminal.note(f"Loading {model}")
    base = load_model(model)
    renderer = Renderer(Tokenizer.load(base.folder))
    terminal.note(f"Training {len(indicators)} adapters on {len(rows)} conversations")
    started = time.perf_counter()
    with terminal.progress("Training", "steps") as advance:
        adapters = train_one_pass(
            Lessons(base, model, renderer, rows, indicators, recipe),
            output,
            clocks=Clocks(time.perf_counter, lambda: datetime.now(tz=UTC)),
            resume=resume,
            on_progress=lambda progress: _show(advance, progress),
        )
    return TrainingRun(tuple(adapters), time.perf_counter() - started)


def _show(advance: OnProgress, progress: Progress) -> None:
    rate = progress.num_conversations / max(progress.elapsed_s, 1e-9)
    loss = "" if progress.mean_loss is None else f"loss {progress.mean_loss:.3f}, "
    advance(progress.step, progress.num_steps, f"{loss}{rate:.1f} conversations/s")
