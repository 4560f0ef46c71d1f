"""Records of the gateway's books → files for other programs, in bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.gateway.ledger import COLUMNS
from descant.registry import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_Records = Sequence[dict[str, Any]]


def write_csv(path: Path, parts: Iterable[_Records]) -> None:
    """Write a line for each record below one of names; times are ISO 8601 in UTC.

    Raises:
        StorageFull, InvalidConfig: the file cannot be written; what was there is as it was.
    """
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, list(COLUMNS))
        writer.writeheader()
        for part in parts:
            writer.writerows(part)
        text.detach()


def write_parquet(path: Path, parts: Iterable[_Records]) -> None:
    """Write the records as a table; times are timestamps in UTC.

    Raises:
        StorageFull, InvalidConfig: the file cannot be written; what was there is as it was.
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            rows = [_typed(record) for record in part]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    other = {"time": pa.timestamp("us", tz="UTC"), "is_stream": pa.bool_()}
    return pa.schema({name: other.get(name, types[kind]) for name, kind in COLUMNS.items()})


def _typed(record: dict[str, Any]) -> dict[str, Any]:
    when = datetime.fromisoformat(record["time"])
    return record | {"time": when, "is_stream": bool(record["is_stream"])}
