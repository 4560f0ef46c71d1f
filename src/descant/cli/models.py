"""``descant models``: which base models are here, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from descant.cli.options import DEFAULT_MODEL, JsonOption

NameArgument = Annotated[str, typer.Argument(help="The embedded model's name.")]


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="List, unpack and find base models.", no_args_is_help=True)
    app.command("list", epilog="Example:  descant models list --json")(list_models)
    app.command(epilog=f"Example:  descant models unpack {DEFAULT_MODEL}")(unpack)
    app.command(epilog=f"Example:  ls $(descant models where {DEFAULT_MODEL})")(where)
    return app


def list_models(json: JsonOption = False) -> None:
    """List the models in the cache, and the embedded one whether or not it is unpacked."""
    from rich.table import Table

    from descant.cli.terminal import Terminal

    rows = _rows()
    if json:
        Terminal().print_json(rows)
        return
    table = Table("name", "size", "folder")
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["is_unpacked"] else "not unpacked"
        table.add_row(row["name"], size, row["folder"])
    Terminal().print(table)


def unpack(name: NameArgument = DEFAULT_MODEL) -> None:
    """Unpack the embedded model into the cache, or check that it is whole."""
    from descant.cli.terminal import Terminal
    from descant.model import default_cache_dir
    from descant.model.embedded import unpack_embedded

    embedded = _embedded(name)
    terminal = Terminal()
    terminal.note(f"Checking or unpacking {embedded.name}")
    terminal.print(str(unpack_embedded(embedded, default_cache_dir())))


def where(name: NameArgument = DEFAULT_MODEL) -> None:
    """Print the folder of an unpacked model."""
    from descant.cli.terminal import Terminal
    from descant.schema.errors import ModelNotFound

    row = next(row for row in _rows() if row["name"] == _embedded(name).name)
    if not row["is_unpacked"]:
        raise ModelNotFound(
            f"{row['name']} is not unpacked.",
            field="model",
            remedy=f"Run: descant models unpack {row['name']}",
        )
    Terminal().print(row["folder"])


def _embedded(name: str) -> Any:
    from descant.model.embedded import SMOLLM2
    from descant.schema.errors import ModelNotFound

    if name.lower() != SMOLLM2.name:
        raise ModelNotFound(
            f"There is no embedded model {name!r}.",
            field="model",
            remedy=f"The embedded model is {SMOLLM2.name}; others are used by folder or name.",
        )
    return SMOLLM2


def _rows() -> list[dict[str, Any]]:
    from descant.model import default_cache_dir
    from descant.model.embedded import SMOLLM2

    own = SMOLLM2.folder(default_cache_dir())
    others = [path for path in sorted(own.parent.glob("*")) if _is_model(path) and path != own]
    return [_row(SMOLLM2.name, own), *(_row(path.name, path) for path in others)]


def _row(name: str, folder: Path) -> dict[str, Any]:
    num_bytes = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    is_unpacked = _is_model(folder)
    return {"name": name, "is_unpacked": is_unpacked, "bytes": num_bytes, "folder": str(folder)}


def _is_model(folder: Path) -> bool:
    return not folder.name.startswith(".") and (folder / "config.json").is_file()
