"""``descant usage``: who used what of the gateway, and for how much."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from descant.gateway.ledger import Dimension, Selection, UsageRow

_DAY = "%Y-%m-%d"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant usage usage.sqlite --since 2026-11-01 --by tenant --by model"
    app.command(epilog=f"Example:  {example}")(usage)


def usage(  # noqa: PLR0913 - an option each
    ledger: Annotated[
        str, typer.Argument(help="The gateway's ledger: an SQLite file, or a PostgreSQL URL.")
    ],
    since: Annotated[
        datetime | None, typer.Option(formats=[_DAY], help="From this day on, in UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=[_DAY], help="Before this day, in UTC.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A row for each tenant, key, model, upstream, adapter, operation, outcome, status, "
            "kind, day or month; may be given again. [default: tenant]",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    key: Annotated[str | None, typer.Option(help="Of this key alone.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Of this model alone, as callers name it.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the records themselves here.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the records themselves here.")] = None,
    json: JsonOption = False,
) -> None:
    """Sum what callers used: requests, tokens, money, latency of what was answered, errors.

    Money is the unit of the prices in the gateway's file. It and tokens include what no caller saw:
    second askings, earlier stages and trials (--by kind).
    """
    from descant.cli.terminal import Terminal
    from descant.cli.usage_table import usage_table
    from descant.gateway.ledger import (
        LedgerDatabase,
        LedgerPlace,
        Selection,
        usage_rows,
    )

    groups = _dimensions(by or ["tenant"])
    only: dict[Dimension, str | None] = {"tenant": tenant, "key": key, "model": model}
    selection = Selection(
        since.date() if since else None,
        until.date() if until else None,
        {name: value for name, value in only.items() if value is not None},
    )
    database = LedgerDatabase.existing(LedgerPlace.parse(ledger))
    with closing(database), database.reading() as connection:
        rows = usage_rows(connection, selection, groups)
        (total,) = usage_rows(connection, selection, ())
        _write_files(connection, selection, csv, parquet)
    if json:
        Terminal().print_json(_told(groups, rows, total))
    else:
        Terminal().print(usage_table(groups, rows, total))


def _dimensions(names: Sequence[str]) -> list[Dimension]:
    from descant.gateway.ledger import DIMENSIONS
    from descant.schema.errors import InvalidConfig

    known = {str(name): name for name in DIMENSIONS}
    for name in names:
        if name not in known:
            raise InvalidConfig(
                f"Usage is not known by {name!r}.", field="by", remedy=f"Known: {', '.join(known)}."
            )
    return [known[name] for name in dict.fromkeys(names)]


def _write_files(
    connection: Connection, selection: Selection, csv: Path | None, parquet: Path | None
) -> None:
    from descant.cli.usage_files import write_csv, write_parquet
    from descant.gateway.ledger import usage_records

    if csv is not None:
        write_csv(csv, usage_records(connection, selection))
    if parquet is not None:
        write_parquet(parquet, usage_records(connection, selection))


def _told(by: Sequence[str], rows: Sequence[UsageRow], total: UsageRow) -> dict[str, Any]:
    named = [dict(zip(by, row.group, strict=True)) | _figures(row) for row in rows]
    return {"by": list(by), "rows": named, "total": _figures(total)}


def _figures(row: UsageRow) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: value for name, value in asdict(row).items() if name != "group"}
