"""Records to write, and what is in the books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from descant.gateway.call import Usage
from descant.gateway.ledger import (
    Ledger,
    LedgerDatabase,
    LedgerPlace,
    Selection,
    UsageRecord,
    usage_records,
)

NOON_S = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
RECORD = UsageRecord(
    id="r0",
    time_s=NOON_S,
    tenant="quality",
    key="team",
    operation="chat",
    model="polite",
    outcome="ok",
    status=200,
    usage=Usage(100, 10, 40),
    money_nano=1_500,
    upstream="own",
    attempts=1,
    first_byte_s=0.02,
    total_s=0.1,
)


def record(id: str, **changes: Any) -> UsageRecord:
    return replace(RECORD, id=id, **changes)


@contextmanager
def ledger(place: str) -> Iterator[Ledger]:
    opened = Ledger.open(place)
    try:
        yield opened
    finally:
        opened.close()


def write(place: str, records: Sequence[UsageRecord]) -> None:
    with ledger(place) as opened:
        for each in records:
            opened.write(each)


@contextmanager
def database(place: str) -> Iterator[LedgerDatabase]:
    opened = LedgerDatabase.existing(LedgerPlace.parse(place))
    try:
        yield opened
    finally:
        opened.close()


def rows(place: str) -> list[dict[str, Any]]:
    with database(place) as opened, opened.reading() as connection:
        return [row for part in usage_records(connection, Selection()) for row in part]


def ids(place: str) -> list[str]:
    return [row["id"] for row in rows(place)]
