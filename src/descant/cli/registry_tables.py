"""The registry's tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from descant.cli.registry_options import minute, short

if TYPE_CHECKING:
    from descant.registry import AuditEntry


def versions_table(rows: Sequence[dict[str, Any]], registry: str) -> Table:
    """Return a line for each version."""
    # An address may hold a password.
    place = registry if "://" not in registry else "PostgreSQL"
    table = Table(title=f"{len(rows)} versions in {place}", title_justify="left")
    for heading in ("name", "version", "aliases", "base", "measured", "added"):
        table.add_column(heading, no_wrap=heading in ("name", "version"), overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            short(row["version"]),
            ", ".join(row["aliases"]) or "-",
            row["base_name"] or "-",
            _figures(row["metrics"]) or "-",
            minute(row["added_at"]),
        )
    return table


def version_table(told: dict[str, Any]) -> Table:
    """Return all that is known of one version, a line for each thing."""
    manifest = told["manifest"] or {}
    recipe = manifest.get("recipe") or {}
    table = Table(title=f"{told['name']}@{short(told['version'])}", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("is", overflow="fold")
    for what, value in (
        ("version", told["version"]),
        ("weights", told["weights_hash"]),
        ("aliases", ", ".join(told["aliases"])),
        ("base", " ".join(filter(None, (told["base_name"], told["base_hash"])))),
        ("data", told["data_hash"]),
        ("recipe", _figures(recipe)),
        ("trained", manifest.get("created")),
        ("in training", _figures(told["metrics"])),
        *_family(told["lineage"]),
        *((f"measured {minute(e['at'])}", _evidence(e)) for e in told["evaluations"]),
        ("folder", told["folder"]),
    ):
        table.add_row(what, value or "-")
    return table


def log_table(trail: Sequence[AuditEntry]) -> Table:
    """Return a line for each change."""
    table = Table()
    headings = ("no.", "when", "who", "what", "adapter", "before → after", "why")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("no.", "when", "what"), overflow="fold")
    for entry in trail:
        adapter = f"{entry.name}@{entry.alias}" if entry.alias else entry.name
        change = f"{short(entry.before)} → {short(entry.after)}"
        moved = change if entry.alias else short(entry.after)
        forced = f" (forced: {entry.forced_reason})" if entry.forced_reason else ""
        evidence = " [with evidence]" if entry.evidence is not None else ""
        table.add_row(
            str(entry.number),
            minute(entry.at),
            entry.who,
            entry.action,
            adapter,
            moved,
            f"{entry.reason}{forced}{evidence}",
        )
    return table


def _family(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    ancestors = [
        f"{', '.join(map(_short_name, one['known_as'])) or 'not here'} "
        f"(weights {short(one['weights_hash'])})"
        for one in lineage["ancestors"]
    ]
    parents = [("parent" if at == 0 else "its parent", name) for at, name in enumerate(ancestors)]
    return parents + [("child", _short_name(name)) for name in lineage["children"]]


def _short_name(full_name: str) -> str:
    name, _, version = full_name.partition("@")
    return f"{name}@{short(version)}"


def _evidence(evaluation: dict[str, Any]) -> str:
    found = evaluation["evidence"]
    figures = _figures(found) if isinstance(found, dict) else ""
    return f"{figures or 'see --json'} (change {evaluation['number']}, {evaluation['who']})"


def _figures(table: dict[str, Any] | None) -> str:
    # What is not a single figure is left to --json.
    single = {k: v for k, v in (table or {}).items() if isinstance(v, int | float | str)}
    return ", ".join(f"{name} {_figure(value)}" for name, value in single.items())


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
