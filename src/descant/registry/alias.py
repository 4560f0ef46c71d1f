"""Aliases: a name's champion, its challenger, and any other word for one of its versions.

Every change is one row and one entry of the audit trail in one transaction; the caller holds it, and
with it the place of the only writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from descant.registry.audit import Reason, append, histories, read_trail
from descant.registry.tables import ALIASES
from descant.schema.errors import AliasMoved, NothingToRollBack

Expected = str | None | EllipsisType
"""What an alias must mean for a change to be made; None: nothing yet; ``...``: whatever it is."""


@dataclass(frozen=True)
class AliasChange:
    """What an alias meant and means."""

    name: str
    alias: str
    before: str | None
    after: str
    number: int | None
    """Of the entry in the audit trail; None: it meant this already, and nothing was changed."""


def meaning(connection: Connection, name: str, alias: str) -> str | None:
    """Return the version an alias means; None: there is no such alias."""
    wanted = select(ALIASES.c.version).where(ALIASES.c.name == name, ALIASES.c.alias == alias)
    version: str | None = connection.execute(wanted).scalar_one_or_none()
    return version


def point(
    connection: Connection,
    name: str,
    alias: str,
    version: str,
    reason: Reason,
    expected: Expected = ...,
) -> AliasChange:
    """Let an alias mean a version.

    Raises:
        AliasMoved: it does not mean what was expected.
    """
    before = meaning(connection, name, alias)
    _check_expected(name, alias, before, expected)
    if before == version:
        return AliasChange(name, alias, before, version, None)
    return _change(connection, "promote", AliasChange(name, alias, before, version, None), reason)


def step_back(
    connection: Connection, name: str, alias: str, reason: Reason, expected: Expected = ...
) -> AliasChange:
    """Let an alias mean what it meant before it was last pointed elsewhere.

    Going back again goes back further.

    Raises:
        AliasMoved: it does not mean what was expected.
        NothingToRollBack: it never meant anything else.
    """
    now = meaning(connection, name, alias)
    _check_expected(name, alias, now, expected)
    history = histories(read_trail(connection, name, alias)).get((name, alias), [])
    if now is None or len(history) < 2:
        raise NothingToRollBack(
            f"{name}@{alias} has nothing before it to go back to.",
            field="alias",
            remedy=f"See what it has meant: descant registry log {name}; "
            "or promote the version it should mean.",
        )
    return _change(connection, "rollback", AliasChange(name, alias, now, history[-2], None), reason)


def _change(
    connection: Connection, action: Literal["promote", "rollback"], to: AliasChange, reason: Reason
) -> AliasChange:
    key = {"name": to.name, "alias": to.alias}
    if to.before is None:
        connection.execute(insert(ALIASES).values(**key, version=to.after))
    else:
        mine = (ALIASES.c.name == to.name, ALIASES.c.alias == to.alias)
        moved = update(ALIASES).where(*mine, ALIASES.c.version == to.before)
        done = connection.execute(moved.values(version=to.after))
        assert done.rowcount == 1, "someone wrote beside the only writer"
    versions = (to.before, to.after)
    number = append(connection, action, to.name, reason, alias=to.alias, versions=versions)
    return AliasChange(to.name, to.alias, to.before, to.after, number)


def _check_expected(name: str, alias: str, now: str | None, expected: Expected) -> None:
    if expected is not ... and now != expected:
        raise AliasMoved(
            f"{name}@{alias} means {now or 'nothing'}, not {expected or 'nothing'}: "
            "someone changed it meanwhile.",
            field="expected",
            remedy=f"Look at descant registry log {name}, and decide anew.",
        )
