"""``descant calibrate``: probabilities that come true as often as they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from descant.cli.options import (
    DEFAULT_ADAPTERS,
    DEFAULT_MODEL,
    AdaptersOption,
    JsonOption,
    ModelOption,
    RequiredIndicatorsOption,
)

if TYPE_CHECKING:
    from rich.table import Table

    from descant.evaluation import CalibrationFit, Outcome, Predictions
    from descant.registry import Manifest
    from descant.schema import Indicator


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant calibrate dev.jsonl --indicators indicators --train train.jsonl"
    app.command(epilog=f"Example:  {example}")(calibrate)


def calibrate(
    data: Annotated[
        Path, typer.Argument(help="Labelled conversations that nothing was trained on.")
    ],
    indicators: RequiredIndicatorsOption,
    adapters: AdaptersOption = DEFAULT_ADAPTERS,
    train: Annotated[
        Path | None, typer.Option(help="What was trained on; refused if DATA is part of it.")
    ] = None,
    method: Annotated[
        Literal["auto", "temperature", "isotonic", "none"],
        typer.Option(help="auto: what cross-validation finds best. none: as the model gives them."),
    ] = "auto",
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Fit a calibration for every adapter, write it into its manifest and print what it brings."""
    from descant.cli.evaluate import check_apart
    from descant.cli.loading import load_llm, read_rows
    from descant.cli.terminal import Terminal
    from descant.data import data_hash
    from descant.evaluation import CalibrationConfig, Task, fit_calibration, run_task
    from descant.schema import load_indicators

    terminal = Terminal()
    chosen = [each for each in load_indicators(indicators) if not each.is_text]
    task = Task(data.stem, read_rows(data), chosen)
    check_apart(task, () if train is None else read_rows(train))
    folders = _folders(task.indicators, adapters)
    content = data_hash(task.rows)
    _check_unseen(folders, content)
    llm = load_llm(terminal, model, adapters)
    with terminal.progress("Asking", "conversations") as advance:
        answers = run_task(task, llm, advance)
    config = CalibrationConfig(method)
    fits = [fit_calibration(i, answers.of(i.name), config) for i in task.indicators]
    _write(folders, fits, answers, content)
    if json:
        terminal.print_json(
            {
                "task": task.name,
                "conversations": len(task.rows),
                "adapters": str(adapters),
                "indicators": [fit.to_json() for fit in fits],
            }
        )
    else:
        terminal.print(_table(task.name, fits))


def _folders(indicators: Sequence[Indicator], adapters: Path) -> dict[str, Path]:
    """Return the adapter folder of each indicator."""
    from descant.registry import resolve_adapter
    from descant.schema.errors import InvalidIndicator

    folders: dict[str, Path] = {}
    for indicator in indicators:
        folder = resolve_adapter(indicator.adapter, [adapters])
        if folder in folders.values():
            raise InvalidIndicator(
                f"Adapter {indicator.adapter!r} answers two indicators.",
                field="adapter",
                remedy="An adapter has one calibration: give each indicator its own.",
            )
        folders[indicator.name] = folder
    return folders


def _check_unseen(folders: Mapping[str, Path], content: str) -> None:
    from descant.registry import read_manifest
    from descant.schema.errors import InvalidData

    for name, folder in folders.items():
        if read_manifest(folder).data_hash == content:
            raise InvalidData(
                f"The adapter of {name!r} was trained on these conversations.",
                field="data",
                remedy="Calibrate on conversations that nothing was trained on.",
            )


def _write(
    folders: Mapping[str, Path], fits: Sequence[CalibrationFit], answers: Predictions, content: str
) -> None:
    """Write what was fitted into the manifests; where nothing can be said they stay as they are."""
    from descant.registry import read_manifest, write_manifest
    from descant.schema import Calibration

    manifests: dict[Path, Manifest] = {}
    for fit in fits:
        if fit.method is not None:
            folder = folders[fit.indicator]
            manifest = read_manifest(folder)
            _check_same_weights(folder, manifest, answers.of(fit.indicator))
            table = None
            if fit.scaling is not None:
                table = Calibration(fit.scaling, fit.num_examples, content).to_json()
            manifests[folder] = replace(manifest, calibration=table)
    for folder, manifest in manifests.items():
        write_manifest(folder, manifest)


def _check_same_weights(folder: Path, manifest: Manifest, outcomes: Sequence[Outcome]) -> None:
    from descant.schema.errors import InvalidAdapter

    asked = {outcome.answer.adapter for outcome in outcomes}
    if not all(ref is None or ref.content_hash.startswith(manifest.content_hash) for ref in asked):
        raise InvalidAdapter(
            f"{folder}: the manifest is not that of the weights that were asked.",
            field="content_hash",
            remedy="If the adapter was replaced meanwhile, calibrate again; else train it again.",
        )


def _table(task: str, fits: Sequence[CalibrationFit]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    caption = (
        "After: each conversation by a fit without it. In brackets: 95 % interval of the change."
    )
    table = Table(
        title=f"Calibration on {task}", caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("indicator", overflow="fold")
    table.add_column("method", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for heading in ("ECE\nbefore → after", "NLL\nbefore → after"):
        table.add_column(heading, no_wrap=True)
    for fit in fits:
        table.add_row(fit.indicator, _method(fit), str(fit.num_examples), *_figures(fit))
    table.add_section()
    table.add_row("mean", "", "", *_means(fits))
    return table


def _method(fit: CalibrationFit) -> str:
    from descant.schema import TemperatureScaling

    if fit.method is None:
        return f"as it was: {fit.reason}"
    if isinstance(fit.scaling, TemperatureScaling):
        return f"temperature {fit.scaling.temperature:.2f}"
    changed = fit.changed_labels
    return f"{fit.method}, {changed} labels change" if changed else fit.method


def _figures(fit: CalibrationFit) -> list[str]:
    before, after, change = fit.before, fit.after, fit.change
    if before is None:
        return ["-", "-"]
    if after is None or change is None:
        return [f"{before.ece.value:.3f}", f"{before.nll.value:.3f}"]
    return [
        _arrow(before.ece.value, after.ece.value),
        f"{_arrow(before.nll.value, after.nll.value)} "
        f"[{change.nll.low:+.3f}, {change.nll.high:+.3f}]",
    ]


def _means(fits: Sequence[CalibrationFit]) -> list[str]:
    pairs = [(fit.before, fit.after or fit.before) for fit in fits if fit.before is not None]
    if not pairs:
        return ["-", "-"]
    return [
        _arrow(fmean(b.ece.value for b, _ in pairs), fmean(a.ece.value for _, a in pairs)),
        _arrow(fmean(b.nll.value for b, _ in pairs), fmean(a.nll.value for _, a in pairs)),
    ]


def _arrow(before: float, after: float) -> str:
    return f"{before:.3f} → {after:.3f}"
