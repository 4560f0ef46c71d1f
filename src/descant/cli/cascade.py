"""``descant cascade fit``: from which confidence on a smaller model's answer is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.evaluation import CascadeFit, CostBound, ErrorBound, ModelCut
    from descant.gateway import ModelThresholds, Thresholds


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Small models first, large ones where needed.", no_args_is_help=True)
    example = "descant cascade fit records.jsonl --max-error 0.02 --out thresholds.toml"
    app.command("fit", epilog=f"Example:  {example}")(fit)

    @app.callback()
    def _group() -> None:
        """Small models first, large ones where needed."""

    return app


def fit(  # noqa: PLR0913 - an option each
    records: Annotated[
        Path,
        typer.Argument(
            help="JSON lines: id, indicator, gold, stages, each with model, label, confidence, cost."
        ),
    ],
    max_error: Annotated[
        float | None, typer.Option(help="The share of wrong answers; the cheapest that keeps it.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Money for 1,000 answers; the fewest errors that it buys."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="How sure the bound is to hold, for each indicator by itself.")
    ] = 0.95,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="A threshold for each label of each model.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Learn from part of the records what each confidence is worth."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the thresholds file here.")] = None,
    json: JsonOption = False,
) -> None:
    """Fit thresholds to recorded answers so that a bound on errors, or on money, holds beyond them."""
    from descant.cli.terminal import Terminal
    from descant.evaluation import (
        CascadeFitConfig,
        fit_cascade,
        read_cascade_records,
        stage_answers,
    )

    bound = _bound(max_error, max_cost, confidence)
    config = CascadeFitConfig(by_label, calibrate)
    answers = stage_answers(read_cascade_records(records))
    fits = [fit_cascade(name, answers[name], bound, config) for name in sorted(answers)]
    _check_some(records, fits)
    if out is not None:
        _write(out, fits, _promise(bound))
    terminal = Terminal()
    if json:
        terminal.print_json({"bound": _promise(bound), "fits": [one.to_json() for one in fits]})
        return
    terminal.print(_table(_promise(bound), fits))
    terminal.print(*(f"{one.indicator}: {one.reason}\n" for one in fits if one.reason))
    if out is not None:
        terminal.print(f"Written to {out}")


def _bound(
    max_error: float | None, max_cost: float | None, confidence: float
) -> ErrorBound | CostBound:
    from descant.evaluation import CostBound, ErrorBound
    from descant.schema.errors import InvalidConfig

    if max_error is not None and max_cost is None:
        return ErrorBound(max_error, confidence)
    if max_cost is not None and max_error is None:
        return CostBound(max_cost, confidence)
    raise InvalidConfig(
        "Give one of --max-error and --max-cost.",
        field="max_error",
        remedy="Such as --max-error 0.02.",
    )


def _check_some(records: Path, fits: Sequence[CascadeFit]) -> None:
    from descant.schema.errors import InvalidData

    if not fits:
        raise InvalidData(f"{records} holds no record.", field="records")


def _promise(bound: ErrorBound | CostBound) -> str:
    from descant.evaluation import ErrorBound

    if isinstance(bound, ErrorBound):
        return f"at most {bound.max_error:.3g} wrong at {bound.confidence:.0%} confidence, cheapest"
    return (
        f"at most {bound.max_cost_per_1000:g} for 1,000 answers at {bound.confidence:.0%} "
        "confidence, fewest errors"
    )


def _write(out: Path, fits: Sequence[CascadeFit], promise: str) -> None:
    from descant.registry import replacing

    remarks = [f"Fitted by descant cascade fit: {promise}, each indicator by itself."]
    remarks += [
        f"{one.indicator}: {one.num_tested} of {one.num_examples} conversations tested on, "
        f"{one.error:.4f} wrong, {one.saved:.1%} of the money saved."
        for one in fits
    ]
    with replacing(out) as file:
        file.write(_thresholds(fits).to_toml(remarks).encode())


def _thresholds(fits: Sequence[CascadeFit]) -> Thresholds:
    from descant.gateway import Thresholds, UnitThresholds

    return Thresholds(
        {
            one.indicator: UnitThresholds({m: _of_model(cut) for m, cut in one.cuts.items()})
            for one in fits
        }
    )


def _of_model(cut: ModelCut) -> ModelThresholds:
    from descant.gateway import ModelThresholds

    if cut.curve is None:
        return ModelThresholds(cut.threshold, cut.labels)
    return ModelThresholds(cut.threshold, cut.labels, cut.curve.raw, cut.curve.calibrated)


def _table(promise: str, fits: Sequence[CascadeFit]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    caption = "Saved: against asking the last model alone. In brackets: what it is not above."
    table = Table(
        title=f"Cascade: {promise}", caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("indicator", overflow="fold")
    table.add_column("taken from", overflow="fold")
    table.add_column("answered by", overflow="fold")
    for heading in ("n", "wrong", "last model", "cost of 1,000", "saved"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in fits:
        table.add_row(*_cells(one))
    return table


def _cells(one: CascadeFit) -> list[str]:
    return [
        one.indicator,
        "\n".join(f"{model} {_level(cut)}" for model, cut in one.cuts.items()),
        "\n".join(f"{model} {share:.0%}" for model, share in one.answered_by.items()),
        str(one.num_tested),
        f"{one.error:.2%} [{one.error_bound:.2%}]",
        f"{one.last_error:.2%}",
        f"{one.cost_per_1000:.4g} of {one.last_cost_per_1000:.4g}",
        f"{one.saved:.0%}",
    ]


def _level(cut: ModelCut) -> str:
    levels = [] if cut.threshold is None else [f"{cut.threshold:.3g}"]
    levels += [f"{label} {level:.3g}" for label, level in cut.labels.items()]
    return ", ".join(levels) or "never"
