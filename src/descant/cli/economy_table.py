"""What a gateway's tokens are spent on, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

_PARTS = ("system", "examples", "history", "question", "tools", "answer")

Row = Mapping[str, Any]


def economy_table(rows: Sequence[Row]) -> Table:
    """Return a line for each model, the one that uses most first."""
    table = Table(
        caption="shares of all tokens; repeated: read anew though most requests begin with it, "
        "which trimming or a prefix cache would save",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold")
    for name in ("requests", "tokens", *_PARTS, "cached", "repeated", "max_tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["route"]),
            f"{row['requests']:,}",
            f"{row['total_tokens']:,}",
            *(_share(row[f"{part}_share"]) for part in _PARTS),
            f"{row['cached_tokens']:,}",
            f"{row['constant_read_tokens']:,}",
            _advised(row),
        )
    return table


def advice_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why each model's `max_tokens` is advised, or why it cannot be."""
    for row in rows:
        if row.get("max_tokens_reason") is not None:
            allowed = row["max_tokens_mean_allowed_tokens"]
            reason = row["max_tokens_reason"]
            yield f"{row['route']}: max_tokens {_advised(row)}, {allowed:,.0f} now: {reason}."


def _share(share: float) -> str:
    return "-" if share == 0 else f"{share:.0%}"


def _advised(row: Row) -> str:
    tokens = row.get("max_tokens_tokens")
    return "-" if tokens is None else f"{tokens:,}"
