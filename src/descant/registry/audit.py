"""The audit trail: who changed what, when, why and on which evidence.

Entries are only ever added, in the transaction of the change they tell of, and numbered without gaps.
What every alias means now follows from the trail alone: `histories` replays it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from descant.registry.tables import AUDIT, STATE
from descant.schema.errors import InvalidConfig

Action = Literal["add", "import", "evaluate", "promote", "rollback"]
_LONGEST_WHO = 256
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Reason:
    """Who changes something, and why.

    Raises:
        InvalidConfig: nobody, or no reason, or evidence that is not JSON; names the field.
    """

    at: str
    """ISO 8601."""
    who: str
    why: str
    evidence: Any = None
    """JSON."""
    forced: str | None = None
    """Why it was done although the evidence speaks against it."""

    def __post_init__(self) -> None:
        if not _is_text(self.who) or len(self.who) > _LONGEST_WHO:
            raise InvalidConfig(
                "Nobody is named who does it.", field="user", remedy="Name one in DESCANT_USER."
            )
        if not _is_text(self.why) or (self.forced is not None and not _is_text(self.forced)):
            raise InvalidConfig(
                "A change needs a reason.", field="reason", remedy="Say why with --reason."
            )
        check_json(self.evidence)


@dataclass(frozen=True)
class AuditEntry:
    """One change."""

    number: int
    at: str
    who: str
    action: Action
    name: str
    alias: str | None
    before: str | None
    """What the alias meant before; None: nothing."""
    after: str | None
    """What it means since, or the version that was added or evaluated."""
    reason: str
    evidence: Any
    forced_reason: str | None


def append(
    connection: Connection,
    action: Action,
    name: str,
    reason: Reason,
    *,
    alias: str | None = None,
    versions: tuple[str | None, str | None],
) -> int:
    """Add an entry with the next number, and return that number.

    `versions` are those before and after.
    """
    following = update(STATE).values(last_change=STATE.c.last_change + 1)
    number: int = connection.execute(following.returning(STATE.c.last_change)).scalar_one()
    row = {
        "number": number,
        "at": reason.at,
        "who": reason.who,
        "action": action,
        "name": name,
        "alias": alias,
        "before": versions[0],
        "after": versions[1],
        "reason": reason.why,
        "evidence": reason.evidence,
        "forced_reason": reason.forced,
    }
    connection.execute(insert(AUDIT).values(row))
    return number


def read_trail(
    connection: Connection, name: str | None = None, alias: str | None = None
) -> list[AuditEntry]:
    """Return the entries, of one name or alias if asked, the oldest first."""
    wanted = select(AUDIT).order_by(AUDIT.c.number)
    if name is not None:
        wanted = wanted.where(AUDIT.c.name == name)
    if alias is not None:
        wanted = wanted.where(AUDIT.c.alias == alias)
    return [AuditEntry(**row) for row in connection.execute(wanted).mappings()]


def histories(trail: Iterable[AuditEntry]) -> dict[tuple[str, str], list[str]]:
    """Return, by name and alias, the versions to which it can go back, and last what it means now."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in trail:
        if entry.alias is None or entry.after is None:
            continue
        history = found.setdefault((entry.name, entry.alias), [])
        if entry.action == "rollback":
            history.pop()
        else:
            history.append(entry.after)
    return found


def check_json(value: Any) -> None:
    """Refuse what cannot be kept as JSON.

    Raises:
        InvalidConfig: names the field ``evidence``.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidConfig(
            f"The evidence is not JSON: {error}.",
            field="evidence",
            remedy="Write numbers that are not finite as null.",
        ) from error


def _is_text(value: str) -> bool:
    # What UTF-8 or a database cannot hold is no text.
    return bool(value.strip()) and "\0" not in value and not _SURROGATES.search(value)


def last_change(connection: Connection) -> int:
    """Return the number of the last entry; 0: there is none."""
    number: int = connection.execute(select(STATE.c.last_change)).scalar_one()
    return number
