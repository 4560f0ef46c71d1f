"""What was used, summed by whatever one asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from descant.gateway.ledger.tables import USAGE

Dimension = Literal[
    "tenant",
    "key",
    "model",
    "upstream",
    "adapter",
    "operation",
    "outcome",
    "status",
    "kind",
    "day",
    "month",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

COLUMNS: Mapping[str, type] = {column.name: column.type.python_type for column in USAGE.columns}
"""What a record has, as `usage_records` yields it."""

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Selection:
    """Which records; days are of UTC, and `until` is the first one that is not of them."""

    since: date | None = None
    until: date | None = None
    only: Mapping[Dimension, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UsageRow:
    """The records of one group; money and tokens are of all kinds, the rest of what callers got."""

    group: tuple[str | int | None, ...]
    requests: int
    refused: int
    failed: int
    """No upstream answered, or not in time."""
    cancelled: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    money_nano: int
    p50_s: float | None
    """Of requests that were answered, from beginning to end; None where there was none."""
    p99_s: float | None


def usage_rows(
    connection: Connection, selection: Selection, by: Sequence[Dimension]
) -> list[UsageRow]:
    """Return a row for each group, the most expensive first; without `by`, one row for all."""
    rows = connection.execute(_report(selection, by)).all()
    return [_row(row, len(by)) for row in rows]


def usage_records(connection: Connection, selection: Selection) -> Iterator[list[dict[str, Any]]]:
    """Yield the records themselves, oldest first, in bounded portions."""
    query = _selected(select(USAGE), selection).order_by(USAGE.c.time, USAGE.c.id)
    options = {"yield_per": _ROWS_AT_ONCE}
    for part in connection.execution_options(**options).execute(query).mappings().partitions():
        yield [dict(row) for row in part]


def _report(selection: Selection, by: Sequence[Dimension]) -> Select[Any]:
    groups = [_dimension(name).label(f"group_{at}") for at, name in enumerate(by)]
    is_request = USAGE.c.kind == "answer"
    is_answered = and_(is_request, USAGE.c.outcome.in_(("ok", "cached")))
    peers = [_dimension(name) for name in by] + [case((is_answered, 1), else_=0)]
    rows = _selected(
        select(
            *groups,
            *(USAGE.c[name] for name in ("outcome", "total_s", *_SUMS)),
            case((is_request, 1), else_=0).label("is_request"),
            peers[-1].label("is_answered"),
            func.row_number().over(partition_by=peers, order_by=USAGE.c.total_s).label("rank"),
            func.count().over(partition_by=peers).label("peers"),
        ),
        selection,
    ).subquery()
    sums = [func.coalesce(func.sum(rows.c[name]), 0).label(name) for name in _SUMS]
    keys = [rows.c[f"group_{at}"] for at in range(len(by))]
    counts = [_count(rows.c, *outcomes) for outcomes in _COUNTED]
    query = select(*keys, *counts, *sums, _percentile(rows.c, 50), _percentile(rows.c, 99))
    return query.group_by(*keys).order_by(sums[-1].desc(), counts[0].desc(), *keys)


_SUMS = ("prompt_tokens", "cached_tokens", "completion_tokens", "money_nano")
_COUNTED: tuple[tuple[str, ...], ...] = ((), ("refused",), ("failed", "timed_out"), ("cancelled",))


def _count(rows: Any, *outcomes: str) -> ColumnElement[int]:
    is_counted = rows.outcome.in_(outcomes) if outcomes else rows.is_request == 1
    chosen = case((and_(rows.is_request == 1, is_counted), 1), else_=0)
    return func.coalesce(func.sum(chosen), 0)


def _percentile(rows: Any, percent: int) -> ColumnElement[float]:
    """The smallest latency that so many percent do not exceed."""
    reaches = and_(rows.is_answered == 1, rows.rank * 100 >= rows.peers * percent)
    return func.min(case((reaches, rows.total_s)))


def _selected(query: Select[Any], selection: Selection) -> Select[Any]:
    if selection.since is not None:
        query = query.where(USAGE.c.time >= selection.since.isoformat())
    if selection.until is not None:
        query = query.where(USAGE.c.time < selection.until.isoformat())
    for name, value in selection.only.items():
        query = query.where(_dimension(name) == value)
    return query


def _dimension(name: Dimension) -> ColumnElement[Any]:
    if name == "day":
        return func.substr(USAGE.c.time, 1, 10)
    if name == "month":
        return func.substr(USAGE.c.time, 1, 7)
    column: ColumnElement[Any] = USAGE.c["adapter_hash" if name == "adapter" else name]
    return column


def _row(row: Any, num_groups: int) -> UsageRow:
    counts = [int(value) for value in row[num_groups : num_groups + 8]]
    return UsageRow(tuple(row[:num_groups]), *counts, *row[num_groups + 8 :])
