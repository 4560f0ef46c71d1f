"""``descant data``: what is in a file of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.data import Inspection, LabelBalance

_MAX_LISTED = 10
_MAX_IDS = 4


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Look at conversations before training on them.", no_args_is_help=True)
    app.callback()(_group)
    example = "descant data check train.jsonl --against dev.jsonl --indicators indicators"
    app.command(epilog=f"Example:  {example}")(check)
    return app


def _group() -> None:
    # A group of one command would be that command.
    """Look at conversations before training on them."""


def check(
    file: Annotated[Path, typer.Argument(help="Labelled conversations, one JSON object a line.")],
    against: Annotated[
        Path | None, typer.Option(help="Another file, which should have no conversation in common.")
    ] = None,
    indicators: Annotated[
        Path | None,
        typer.Option(
            help="Folder of indicator files (TOML). [default: every label name in the file]",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show label balance, lengths, near-duplicates, contradicting labels and words that give them away."""
    from descant.cli.loading import read_rows
    from descant.cli.terminal import Terminal
    from descant.data import inspect_rows
    from descant.schema import load_indicators

    terminal = Terminal()
    asked = None if indicators is None else load_indicators(indicators)
    rows = read_rows(file)
    other = None if against is None else read_rows(against)
    terminal.note(f"Looking through {len(rows) + len(other or ())} conversations")
    found = inspect_rows(rows, asked, other)
    if json:
        terminal.print_json(found.to_json())
        return
    terminal.print(_summary(found, file, against), balance_table(found.balance))
    terminal.print(*suspicions(found, against))


def _summary(found: Inspection, file: Path, against: Path | None) -> str:
    words = found.lengths
    lines = [
        f"{file}: {found.conversations:,} conversations of {words.shortest:,} to {words.longest:,} "
        f"words, half of them up to {words.median:,.0f}, 95 % up to {words.p95:,.0f}"
    ]
    if found.against is not None:
        lines.append(
            f"{against}: {found.against:,} conversations, {len(found.common_ids):,} ids in both files"
        )
    return "\n".join(lines)


def balance_table(balance: Sequence[LabelBalance], title: str = "Labels") -> Table:
    """Return how often each label was given, an indicator a row."""
    table = _table(title, "indicator", "labels", right=("rarest", "unlabelled"))
    for row in balance:
        labels = ", ".join(
            f"{label} {count:,}" + (" (unknown)" if label in row.unknown else "")
            for label, count in row.counts.items()
        )
        total = sum(row.counts.values())
        rarest = f"{min(row.counts.values()) / total:.1%}" if total else "-"
        table.add_row(row.indicator, labels or "-", rarest, f"{row.unlabelled:,}")
    return table


def suspicions(found: Inspection, against: Path | None) -> list[Table | str]:
    """Return near-duplicates, contradicting labels and words that give labels away, to print."""
    return [_near_duplicates(found, against), _conflicts(found), _leak_words(found)]


def _near_duplicates(found: Inspection, against: Path | None) -> Table | str:
    groups = found.near_duplicates
    if not groups:
        return "Near-duplicates: none\n"
    members = sum(member < found.conversations for group in groups for member in group.members)
    title = f"Near-duplicates: {members:,} conversations in {len(groups):,} groups"
    if against is not None:
        title += f", {len(found.shared_groups):,} of them with some of {against}"
    table = _table(title, "conversations", right=("in group", "similarity"))
    for group in groups[:_MAX_LISTED]:
        table.add_row(_ids(group.ids), f"{len(group.ids):,}", f"{group.similarity:.2f}")
    return _with_rest(table, len(groups))


def _conflicts(found: Inspection) -> Table | str:
    if not found.conflicts:
        return "Same text, different labels: none\n"
    table = _table("Same text, different labels", "indicator", "conversations by label")
    for conflict in found.conflicts[:_MAX_LISTED]:
        ids = "; ".join(f"{label}: {_ids(ids)}" for label, ids in conflict.ids.items())
        table.add_row(conflict.indicator, ids)
    return _with_rest(table, len(found.conflicts))


def _leak_words(found: Inspection) -> Table | str:
    if not found.leak_words:
        return "Words that give a label away: none\n"
    figures = ("precision", "recall", "base rate", "in")
    table = _table("Words that give a label away", "indicator", "label", "words", right=figures)
    for word in found.leak_words[:_MAX_LISTED]:
        precision = f"{word.precision:.2f} (over {word.precision_low:.2f})"
        table.add_row(
            *(word.indicator, word.label, word.phrase, precision),
            *(f"{word.recall:.2f}", f"{word.base_rate:.2f}", f"{word.conversations:,}"),
        )
    return _with_rest(table, len(found.leak_words))


def _table(title: str, *left: str, right: Sequence[str] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _with_rest(table: Table, count: int) -> Table:
    if count > _MAX_LISTED:
        table.caption = f"and {count - _MAX_LISTED:,} more; --json has all"
        table.caption_justify = "left"
    return table


def _ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MAX_IDS:,} more" if len(ids) > _MAX_IDS else ""
    return ", ".join(ids[:_MAX_IDS]) + more
