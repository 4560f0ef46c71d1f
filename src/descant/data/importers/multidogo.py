"""Reads MultiDoGO, customers who chat with agents in six domains.

Source: https://github.com/awslabs/multi-domain-goal-oriented-dialogues-dataset. The annotated splits
hold the customer's turns only, with the intents of each; a conversation has an intent when any of its
turns does. Labels are given for all intents that occur in the file, since a domain knows only its own.
Files without annotation name who speaks in a column ``authorRole``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from descant.data.importers.csv_file import open_csv
from descant.data.importers.source_file import NOTHING_SAID, OnSkip
from descant.data.importers.table import Table, TableRow
from descant.data.transcripts import build_transcript
from descant.schema import Indicator, LabelledTranscript, Turn, pick_indicators
from descant.schema.errors import InvalidData, WrongFormat

_NEEDED = ("conversationId", "turnNumber", "utterance")
_INTENT = "intent"
_ROLE = "authorRole"
_BETWEEN_INTENTS = "<div>"
_NO_INTENT = "contentonly"


def read_multidogo(path: Path, on_skip: OnSkip = lambda *_: None) -> Iterator[LabelledTranscript]:
    """Yield the conversations of one domain's file, plain or gzipped.

    Raises:
        WrongFormat: the file is not a table of MultiDoGO.
        InvalidData: the file cannot be read, or a turn has no number; names row and column.
    """
    with open_csv(path, _NEEDED[0], delimiter="\t") as table:
        _check_header(table)
        groups: dict[str, list[TableRow]] = {}
        for row in table.rows:
            groups.setdefault(row.filled(_NEEDED[0]), []).append(row)
    intents_of = {key: _intents(rows) for key, rows in groups.items()}
    known = sorted({intent for intents in intents_of.values() for intent in intents})
    for conversation_id, rows in groups.items():
        turns = [turn for turn in map(_turn, sorted(rows, key=_turn_number)) if turn.text.strip()]
        if not turns:
            on_skip(conversation_id, NOTHING_SAID)
            continue
        transcript = build_transcript(conversation_id, turns, rows[0].origin)
        intents = intents_of[conversation_id]
        labels = {intent: "yes" if intent in intents else "no" for intent in known}
        yield LabelledTranscript(transcript, labels)


def multidogo_indicators(names: Iterable[str] | None = None) -> tuple[Indicator, ...]:
    """Return the named intents as indicators in the order asked for, or all.

    Raises:
        UnknownIndicator: there is no question for a name.
    """
    indicators = tuple(
        Indicator(name, question, ("no", "yes"), ("yes",), "binary", adapter=name)
        for name, question in _QUESTIONS.items()
    )
    return indicators if names is None else pick_indicators(indicators, list(names))


def _check_header(table: Table) -> None:
    if any(column not in table.header for column in _NEEDED):
        raise WrongFormat(
            f"{table.header_place}: a file of MultiDoGO has the columns {', '.join(_NEEDED)}.",
            field="format",
        )


def _turn(row: TableRow) -> Turn:
    role = row.cells.get(_ROLE, "customer").strip().lower()
    return Turn(role, row.cells["utterance"])


def _turn_number(row: TableRow) -> float:
    number = row.filled("turnNumber")
    try:
        return float(number)
    except ValueError as error:
        raise InvalidData(
            f"{row.origin}, column 'turnNumber': {number!r} is not a number.", field="turnNumber"
        ) from error


def _intents(rows: Iterable[TableRow]) -> frozenset[str]:
    cells = (row.cells.get(_INTENT, "") for row in rows)
    found = {intent.strip() for cell in cells for intent in cell.split(_BETWEEN_INTENTS)}
    return frozenset(found - {"", _NO_INTENT})


_QUESTIONS = {
    "openinggreeting": "Did the customer greet the agent?",
    "closinggreeting": "Did the customer say goodbye?",
    "thankyou": "Did the customer thank the agent?",
    "confirmation": "Did the customer confirm something that the agent asked or proposed?",
    "rejection": "Did the customer turn something down that the agent asked or proposed?",
    "outofdomain": "Did the customer say something that has nothing to do with the service?",
    "bookflight": "Did the customer want to book a flight?",
    "changeseatassignment": "Did the customer want another seat on a flight?",
    "getboardingpass": "Did the customer want a boarding pass?",
    "getseatinfo": "Did the customer want to know which seat is theirs?",
    "orderpizzaintent": "Did the customer order a pizza?",
    "orderburgerintent": "Did the customer order a burger?",
    "ordersaladintent": "Did the customer order a salad?",
    "orderdrinkintent": "Did the customer order a drink?",
    "orderdessertintent": "Did the customer order a dessert?",
    "ordersideintent": "Did the customer order a side dish?",
    "orderbreakfastintent": "Did the customer order breakfast?",
    "transfermoney": "Did the customer want to transfer money?",
    "checkbalance": "Did the customer want to know the balance of an account?",
    "replacecard": "Did the customer want a new card in place of theirs?",
    "reportlostcard": "Did the customer report a lost or stolen card?",
    "disputecharge": "Did the customer dispute a charge?",
    "updateaddress": "Did the customer want to change their address?",
    "getroutingnumber": "Did the customer want to know the routing number of the bank?",
    "orderchecks": "Did the customer want to order checks?",
    "openaccount": "Did the customer want to open an account?",
    "closeaccount": "Did the customer want to close an account?",
    "checkoffereligibility": "Did the customer want to know if they can have an offer?",
    "reportbrokenphone": "Did the customer report a broken phone?",
    "checkclaimstatus": "Did the customer want to know how a claim stands?",
    "getproofofinsurance": "Did the customer want a proof of insurance?",
    "startserviceintent": "Did the customer want to sign up for a service?",
    "cancelserviceintent": "Did the customer want to cancel a service?",
    "upgradeserviceintent": "Did the customer want a better service than they have?",
    "transferserviceintent": "Did the customer want to move a service to another address?",
    "viewbillsintent": "Did the customer want to see a bill?",
    "viewdatausageintent": "Did the customer want to know how much data they used?",
    "getinformationintent": "Did the customer want information about a service?",
    "getchannelpackageintent": "Did the customer want a package of channels?",
    "updateaccountinfo": "Did the customer want to change something in their account?",
    "startorder": "Did the customer want to start an order?",
    "stoporder": "Did the customer want to stop an order?",
    "changeorder": "Did the customer want to change an order?",
    "expensereport": "Did the customer want to file an expense report?",
    "reportbrokensoftware": "Did the customer report software that does not work?",
    "softwareupdate": "Did the customer want software to be updated?",
    "checkserverstatus": "Did the customer want to know whether a server is up?",
    "getpromotions": "Did the customer want to know about promotions?",
    "providereceipt": "Did the customer want to hand in a receipt?",
}
"""``contentonly`` is missing: such a turn only answers what the agent asked."""
