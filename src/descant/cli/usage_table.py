"""The gateway's books for people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from descant.gateway.ledger import UsageRow

_FIGURES = (
    "requests",
    "read",
    "cached",
    "written",
    "money",
    "p50",
    "p99",
    "refused",
    "failed",
    "cancelled",
)
_LONGEST_HASH = 19
_NANO = 10**9


def usage_table(by: Sequence[str], rows: Sequence[UsageRow], total: UsageRow) -> Table:
    """Return a line for each group, and one for all."""
    table = Table(
        caption="read, cached, written: tokens; p50, p99: of answered requests",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in by:
        table.add_column(name, overflow="fold")
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(_name, row.group), *_figures(row))
    table.add_section()
    table.add_row("all", *[""] * (len(by) - 1), *_figures(total))
    return table


def money_text(nano: int) -> str:
    """Return money with its cents; less than one with what tells it from nothing."""
    money = Decimal(nano) / _NANO
    if nano >= _NANO or nano == 0:
        return f"{money:,.2f}"
    return f"{money:.4f}" if nano >= _NANO // 1_000 else f"{money:.9f}".rstrip("0")


def _figures(row: UsageRow) -> list[str]:
    tokens = (row.prompt_tokens, row.cached_tokens, row.completion_tokens)
    return [
        f"{row.requests:,}",
        *(f"{count:,}" for count in tokens),
        money_text(row.money_nano),
        _latency(row.p50_s),
        _latency(row.p99_s),
        *(_errors(count) for count in (row.refused, row.failed, row.cancelled)),
    ]


def _name(value: str | int | None) -> str:
    text = "-" if value is None else str(value)
    is_hash = text.startswith("sha256:")
    return text[:_LONGEST_HASH] if is_hash else text


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:,.0f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _errors(count: int) -> str:
    return f"{count:,}" if count else "-"
