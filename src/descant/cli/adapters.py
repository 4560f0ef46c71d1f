"""``descant adapters``: what is in an adapter folder."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.options import DEFAULT_ADAPTERS, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.registry import AdapterEntry

_SHORT_HASH = 12
_SHORT_FIELDS = ("name", "content_hash", "rank", "created")
_FIELDS = (
    "name",
    "content_hash",
    "base_name",
    "rank",
    "labels",
    "calibration",
    "metrics",
    "created",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant adapters runs/demo/adapters")(adapters)


def adapters(
    folder: Annotated[Path, typer.Argument(help="Folder of adapters.")] = DEFAULT_ADAPTERS,
    json: JsonOption = False,
) -> None:
    """List adapters: name, hash, base, rank and what was measured."""
    from descant.cli.terminal import Terminal
    from descant.registry import find_adapters
    from descant.schema.errors import AdapterNotFound

    entries = find_adapters(folder)
    if not folder.is_dir():
        raise AdapterNotFound(
            f"There is no folder {folder}.",
            field="folder",
            remedy="Make adapters with descant demo or descant train.",
        )
    rows = [describe(entry) for entry in entries]
    if json:
        Terminal().print_json(rows)
    else:
        Terminal().print(_table(folder, rows))


def describe(entry: AdapterEntry) -> dict[str, Any]:
    """Return an adapter's name, path, hash, base, rank, labels, metrics, calibration and problem, if any."""
    manifest = entry.manifest
    return {
        "name": entry.name,
        "path": str(entry.path),
        "content_hash": manifest and manifest.content_hash,
        "base_name": manifest and manifest.base_name,
        "base_hash": manifest and manifest.base_hash,
        "rank": _rank(entry.path),
        "labels": manifest and list(manifest.indicator["labels"]),
        "metrics": manifest and dict(manifest.metrics),
        "calibration": manifest and manifest.calibration and manifest.calibration["method"],
        "created": manifest and manifest.created,
        "problem": entry.problem,
    }


def _rank(folder: Path) -> int | None:
    try:
        config = json_format.loads((folder / "adapter_config.json").read_bytes())
        return int(config["r"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table(folder: Path, rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=f"{len(rows)} adapters in {folder}", title_justify="left")
    for field in _FIELDS:
        heading = field.removeprefix("content_").removesuffix("_name")
        table.add_column(heading, no_wrap=field in _SHORT_FIELDS, overflow="fold")
    for row in rows:
        cells = [_cell(row, field) for field in _FIELDS]
        if row["problem"]:
            cells[-2] = row["problem"]
        table.add_row(*cells)
    return table


def _cell(row: dict[str, Any], field: str) -> str:
    value = row[field]
    if value is None:
        return "-"
    if field == "content_hash":
        return str(value).removeprefix("sha256:")[:_SHORT_HASH]
    if field == "created":
        return str(value)[: len("2000-01-01")]
    if field == "metrics":
        # What is not a single figure is left to --json.
        single = {name: figure for name, figure in value.items() if not isinstance(figure, dict)}
        return ", ".join(f"{name} {_number(figure)}" for name, figure in single.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _number(figure: object) -> str:
    return f"{figure:.3g}" if isinstance(figure, float) else str(figure)
