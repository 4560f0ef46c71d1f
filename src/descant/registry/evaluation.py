"""What was measured of a version, kept beside it; added to only, like the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from descant.registry.audit import Reason, append, check_json
from descant.registry.tables import EVALUATIONS
from descant.registry.version_record import VersionRecord


@dataclass(frozen=True)
class Evaluation:
    """One measurement."""

    number: int
    """Of its entry in the audit trail."""
    name: str
    version: str
    at: str
    who: str
    evidence: Any
    """JSON."""


def attach_evaluation(
    connection: Connection, name: str, version: str, evidence: Any, reason: Reason
) -> Evaluation:
    """Add a measurement, and its entry in the audit trail.

    Raises:
        InvalidConfig: the evidence is not JSON.
    """
    check_json(evidence)
    number = append(connection, "evaluate", name, reason, versions=(None, version))
    made = Evaluation(number, name, version, reason.at, reason.who, evidence)
    connection.execute(insert(EVALUATIONS).values(vars(made)))
    return made


def read_evaluations(connection: Connection, record: VersionRecord) -> list[Evaluation]:
    """Return the measurements of a version, the oldest first."""
    table = EVALUATIONS.c
    wanted = select(EVALUATIONS).order_by(table.number)
    mine = wanted.where(table.name == record.name, table.version == record.version)
    return [Evaluation(**row) for row in connection.execute(mine).mappings()]
