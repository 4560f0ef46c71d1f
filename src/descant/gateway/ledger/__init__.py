"""The books of the gateway: who used what, for how much money, and how long it took."""

from descant.gateway.ledger.database import LedgerDatabase, Scope
from descant.gateway.ledger.intake import LedgerBounds
from descant.gateway.ledger.ledger import Ledger, LedgerState
from descant.gateway.ledger.place import LedgerPlace
from descant.gateway.ledger.prices import Prices
from descant.gateway.ledger.record import Kind, Outcome, UsageRecord
from descant.gateway.ledger.report import (
    COLUMNS,
    DIMENSIONS,
    Dimension,
    Selection,
    UsageRow,
    usage_records,
    usage_rows,
)

__all__ = [
    "COLUMNS",
    "DIMENSIONS",
    "Dimension",
    "Kind",
    "Ledger",
    "LedgerBounds",
    "LedgerDatabase",
    "LedgerPlace",
    "LedgerState",
    "Outcome",
    "Prices",
    "Scope",
    "Selection",
    "UsageRecord",
    "UsageRow",
    "usage_records",
    "usage_rows",
]
