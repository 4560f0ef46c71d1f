"""The gateway's ledger, read as the file that it is."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.crowd import Charge

_QUERY = """SELECT id, outcome, prompt_tokens + completion_tokens
FROM gateway_usage WHERE kind = 'answer'"""


@dataclass(frozen=True)
class Entry:
    """One usage record."""

    id: str
    outcome: str
    tokens: int


@dataclass(frozen=True)
class Charged:
    """What callers were answered, set against the books."""

    missing: int
    """Answers without a record."""
    double: int
    """Answers with more than one."""
    wrong: int
    """Answers whose record has other tokens than the answer said."""


def read_ledger(path: Path) -> list[Entry]:
    """Return all records of what callers got.

    Raises:
        sqlite3.Error: it is not there, or has no such table.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [Entry(*row) for row in connection.execute(_QUERY)]


def compare(charges: Sequence[Charge], entries: Sequence[Entry]) -> Charged:
    """Set answers against the books."""
    counts = Counter(entry.id for entry in entries)
    tokens = {entry.id: entry.tokens for entry in entries}
    return Charged(
        missing=sum(counts[each.id] == 0 for each in charges),
        double=sum(counts[each.id] > 1 for each in charges),
        wrong=sum(tokens.get(each.id, each.tokens) != each.tokens for each in charges),
    )
