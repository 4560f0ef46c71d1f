"""What must have held during the fault drill."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.gateway.books import compare, read_ledger
from benchmarks.gateway.checks import Check
from benchmarks.gateway.crowd import Part
from benchmarks.gateway.drill import Seen

_MIDDLE = ("reset_middle", "hang_middle", "half_close")
"""After the first byte: a stream that has begun cannot be asked for again."""
_KILLED = "worker killed"
_BROKEN = frozenset({"closed", "reset", "cut", "connect"})
_LOST_S = 1.0
"""What the books may lose at a kill: the last second."""


def checks(seen: Seen, ledger: Path) -> list[Check]:
    """Return everything that must hold."""
    return [_met(seen.met), *_answers(seen.parts), _at_once(seen.at_once), *_books(seen, ledger)]


def _answers(parts: dict[str, Part]) -> list[Check]:
    killed = parts[_KILLED]
    others = [part for name, part in parts.items() if name != _KILLED]
    unspoilt = [part for part in others if part.name not in _MIDDLE]
    whole = _failed(part.whole for part in others)
    streams = _failed(part.streams for part in unspoilt)
    cut = _failed(parts[name].streams for name in _MIDDLE)
    kill = _failed([killed.whole, killed.streams])
    untold = sum(part.untold for part in parts.values())
    refusals = {name: _refused(part) for name, part in parts.items() if _refused(part)}
    return [
        Check("every request has a whole answer", not whole, _said(whole)),
        Check(
            "every stream ends as one, unless its upstream broke off", not streams, _said(streams)
        ),
        Check("a stream whose upstream broke off ends too", set(cut) <= _BROKEN, _said(cut)),
        Check("at a kill a connection may be closed, no more", set(kill) <= _BROKEN, _said(kill)),
        Check("every refusal says when to come again", not untold, f"{untold} did not"),
        Check(
            "errors only while all upstreams fail",
            set(refusals) <= {"all upstreams fail", _KILLED},
            str(refusals or "none"),
        ),
    ]


def _met(met: Counter[str]) -> Check:
    seen = ", ".join(f"{fault} {count}" for fault, count in met.items())
    return Check("every fault was met", all(met.values()), seen)


def _at_once(part: Part) -> Check:
    kinds = part.whole + part.streams
    return Check(
        "no reservation has leaked: as many as the limits allow at once are let in at once",
        set(kinds) == {"200"},
        f"{kinds['200']} of {kinds.total()}: {dict(kinds)}",
    )


def _books(seen: Seen, ledger: Path) -> list[Check]:
    try:
        entries = read_ledger(ledger)
    except sqlite3.Error as error:
        return [Check("the books can be read", False, str(error))]
    all_charges = [charge for part in seen.parts.values() for charge in part.charges]
    since_s, until_s = seen.killed_s - _LOST_S, seen.killed_s
    lasting = [charge for charge in all_charges if not since_s <= charge.ended_s <= until_s]
    found = compare(lasting, entries)
    charged = sum(entry.tokens for entry in entries if entry.outcome == "ok")
    return [
        Check(
            "every answer is in the books, but for the second before the kill",
            not found.missing,
            f"{found.missing} of {len(lasting)} are not",
        ),
        Check(
            "no answer is charged twice, or for other tokens than it said",
            not found.double and not found.wrong,
            f"{found.double} twice, {found.wrong} wrong",
        ),
        Check(
            "no more is charged than upstreams answered",
            charged <= seen.served_tokens,
            f"{charged:,} of {seen.served_tokens:,} tokens",
        ),
    ]


def _failed(counts: Iterable[Counter[str]]) -> Counter[str]:
    """Return the kinds that are no status: what was closed, cut short or never came."""
    kinds = sum(counts, Counter[str]())
    return Counter({kind: count for kind, count in kinds.items() if not kind.isdigit()})


def _refused(part: Part) -> dict[str, int]:
    kinds = part.whole + part.streams
    return {kind: count for kind, count in kinds.items() if kind.isdigit() and kind != "200"}


def _said(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "all did"
