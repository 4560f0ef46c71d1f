"""``descant registry``: what is kept, what it was made of, and whether it is whole."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.options import JsonOption
from descant.cli.registry_options import (
    DEFAULT_REGISTRY,
    ReasonOption,
    RegistryOption,
    UserOption,
    VersionArgument,
    open_registry,
    short,
)

if TYPE_CHECKING:
    from descant.registry import Verification, VersionRecord

FoldersArgument = Annotated[
    list[Path], typer.Argument(help="Adapter folders, or folders of adapter folders.")
]
NewNameOption = Annotated[
    str | None,
    typer.Option("--name", help="What to call it. [default: as before]", show_default=False),
]
_DAMAGED = 1


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Keep, list, check and move versions of adapters.", no_args_is_help=True)
    for command, example in (
        (add, "add runs/demo/adapters"),
        (list_versions, "list"),
        (show, "show empathy@challenger"),
        (log, "log empathy"),
        (attach, "attach empathy@challenger report.json --reason 'nightly'"),
        (verify, "verify --clean"),
        (export, "export empathy empathy.tar"),
        (import_, "import empathy.tar --name empathy-eu"),
    ):
        name = command.__name__.removesuffix("_versions").removesuffix("_")
        app.command(name, epilog=f"Example:  descant registry {example}")(command)
    return app


def add(
    folders: FoldersArgument,
    name: NewNameOption = None,
    reason: ReasonOption = "added",
    registry: RegistryOption = DEFAULT_REGISTRY,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Copy adapters into the registry, and make one if there is none; what is there already stays."""
    from descant.cli.terminal import Terminal
    from descant.schema.errors import InvalidConfig

    found = [adapter for folder in folders for adapter in _adapters_in(folder)]
    if name is not None and len(found) != 1:
        raise InvalidConfig(
            f"One name cannot be that of {len(found)} adapters.",
            field="name",
            remedy="Name one adapter's folder, or leave --name out.",
        )
    opened = open_registry(registry, user, creates=True)
    records = [opened.add(folder, name, reason=reason) for folder in found]
    terminal = Terminal()
    if json:
        terminal.print_json([_row(record) for record in records])
    else:
        terminal.print("\n".join(f"{r.name}@{short(r.version)}" for r in records))


def list_versions(
    name: Annotated[str | None, typer.Argument(help="Of one adapter only.")] = None,
    registry: RegistryOption = DEFAULT_REGISTRY,
    json: JsonOption = False,
) -> None:
    """List versions: name, hash, aliases, base and what was measured in training."""
    from descant.cli.registry_tables import versions_table
    from descant.cli.terminal import Terminal

    rows = [_row(record) for record in open_registry(registry, None).records(name)]
    if json:
        Terminal().print_json(rows)
    else:
        Terminal().print(versions_table(rows, registry))


def show(
    version: VersionArgument, registry: RegistryOption = DEFAULT_REGISTRY, json: JsonOption = False
) -> None:
    """Show one version: what it was made of, where it comes from, and what was measured of it."""
    from descant.cli.registry_tables import version_table
    from descant.cli.terminal import Terminal

    opened = open_registry(registry, None)
    record = opened.record(version)
    lineage = opened.lineage(record.full_name)
    told = _row(record) | {
        "manifest": record.manifest,
        "lineage": asdict(lineage),
        "evaluations": [asdict(found) for found in opened.evaluations(record.full_name)],
        "folder": str(opened.folder(record.version)),
    }
    if json:
        Terminal().print_json(told)
    else:
        Terminal().print(version_table(told))


def log(
    name: Annotated[str | None, typer.Argument(help="Of one adapter only.")] = None,
    alias: Annotated[str | None, typer.Option(help="Of one alias only.")] = None,
    registry: RegistryOption = DEFAULT_REGISTRY,
    json: JsonOption = False,
) -> None:
    """Show the audit trail: who changed what, when and why."""
    from descant.cli.registry_tables import log_table
    from descant.cli.terminal import Terminal

    trail = open_registry(registry, None).log(name, alias)
    if json:
        Terminal().print_json([asdict(entry) for entry in trail])
    else:
        Terminal().print(log_table(trail))


def attach(
    version: VersionArgument,
    evidence: Annotated[Path, typer.Argument(help="JSON file, as descant evaluate --json writes.")],
    reason: ReasonOption,
    registry: RegistryOption = DEFAULT_REGISTRY,
    user: UserOption = None,
) -> None:
    """Keep what was measured of a version beside it."""
    from descant.cli.terminal import Terminal

    made = open_registry(registry, user).attach(version, read_evidence(evidence), reason=reason)
    Terminal().print(f"{made.name}@{short(made.version)}: change {made.number}")


def verify(
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what killed writers left, first.")
    ] = False,
    registry: RegistryOption = DEFAULT_REGISTRY,
    json: JsonOption = False,
) -> None:
    """Read every file again and compare it, the aliases and the audit trail; exit 1 for damage."""
    from descant.cli.terminal import Terminal

    found = open_registry(registry, None).verify(cleans=clean)
    if json:
        Terminal().print_json(asdict(found) | {"is_clean": found.is_clean})
    else:
        Terminal().print("\n".join(_verified(found)))
    if not found.is_clean:
        raise typer.Exit(_DAMAGED)


def export(
    version: VersionArgument,
    path: Annotated[Path, typer.Argument(help="File to write, usually .tar.")],
    registry: RegistryOption = DEFAULT_REGISTRY,
) -> None:
    """Write one version as one file, to be taken in by another registry."""
    from descant.cli.terminal import Terminal

    record = open_registry(registry, None).export(version, path)
    Terminal().print(f"{record.name}@{short(record.version)} → {path}")


def import_(
    path: Annotated[Path, typer.Argument(help="File that descant registry export wrote.")],
    name: NewNameOption = None,
    reason: ReasonOption = "imported",
    registry: RegistryOption = DEFAULT_REGISTRY,
    user: UserOption = None,
) -> None:
    """Take in an exported version, once every hash in it is right."""
    from descant.cli.terminal import Terminal

    opened = open_registry(registry, user, creates=True)
    record = opened.import_parcel(path, name, reason=reason)
    Terminal().print(f"{record.name}@{short(record.version)}")


def read_evidence(path: Path) -> Any:
    """Return what a JSON file says.

    Raises:
        InvalidConfig: it cannot be read or is not JSON.
    """
    from descant.schema.errors import InvalidConfig

    try:
        return json_format.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidConfig(
            f"{path}: not JSON that can be read: {error}.",
            field="evidence",
            remedy="Name a JSON file, such as descant evaluate --json writes.",
        ) from error


def _adapters_in(folder: Path) -> list[Path]:
    from descant.registry import CONFIG_FILE, find_adapters

    if (folder / CONFIG_FILE).is_file():
        return [folder]
    inside = [entry.path for entry in find_adapters(folder)]
    # Without any, adding the folder itself says what is missing.
    return inside or [folder]


def _row(record: VersionRecord) -> dict[str, Any]:
    manifest = record.manifest or {}
    return {
        "name": record.name,
        "version": record.version,
        "aliases": list(record.aliases),
        "weights_hash": record.weights_hash,
        "base_name": manifest.get("base_name"),
        "base_hash": manifest.get("base_hash"),
        "data_hash": manifest.get("data_hash"),
        "parent": record.parent,
        "metrics": manifest.get("metrics"),
        "num_bytes": record.num_bytes,
        "added_at": record.added_at,
    }


def _verified(found: Verification) -> list[str]:
    lines = [f"{finding.kind}: {finding.where}: {finding.what}" for finding in found.findings]
    lines += [f"removed: {name}" for name in found.removed]
    if found.leftovers:
        lines.append(
            f"left over from unfinished writing: {len(found.leftovers)}; --clean removes it"
        )
    megabytes = f"{found.num_bytes / 1e6:,.1f} MB"
    looked = f"{found.num_versions} versions, {found.num_files} files ({megabytes})"
    state = "clean" if found.is_clean else f"not as they were: {len(found.findings)}"
    return [*lines, f"{looked} and {found.num_changes} changes: {state}"]
