"""Cards, accounts, phone and social security numbers among the numbers of a conversation.

A number is personal by its check digit, by its shape, or by what the words before it call it. Orders,
prices, dates and times have none of these and are left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from descant.data.redaction.checksums import (
    could_be_card,
    is_bank_account,
    is_issued_card,
    is_routing_number,
    is_social_security_number,
)
from descant.data.redaction.digits import Run, counts_things, runs_in, runs_over_turns
from descant.data.redaction.finding import Finding, Part, Place, written_parts
from descant.data.redaction.naming import Noun, noun_before
from descant.data.redaction.phones import could_be_phone, holds_date, phone_value, phones_in
from descant.schema import Turn

_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = range(7, 16)
_ACCOUNT_DIGITS = range(6, 18)
_SECRET_DIGITS = range(3, 9)
_SSN_DIGITS = 9
# As in "plus four four ..."; the sign itself is among the shapes.
_PLUS = re.compile(r"\bplus\s+$", re.IGNORECASE)
_SOCIAL_SECURITY = re.compile(r"(?<![\w-])\d{3}([\s.\u2010-\u2015-])\d\d\1\d{4}(?![\w-])")


class NumberFinder:
    """Finds numbers in figures or spelled out, also over several turns of one speaker."""

    def find(self, turns: Sequence[Turn]) -> Iterator[Finding]:
        """Yield findings of the kinds card, phone, ssn, routing, account and secret."""
        spoken: list[list[Run]] = []
        for at, part, text in written_parts(turns):
            runs = runs_in(text, at, part)
            if part == "text":
                spoken.append(runs)
            if runs:
                yield from _by_shape(turns, text, at, part)
            for run in runs:
                yield from _in_run(turns, run)
                if run.numerals[0].is_exclamation:
                    yield from _in_run(turns, run.part(1, len(run.numerals)))
        for run in runs_over_turns(turns, spoken):
            yield from _in_run(turns, run)


def _by_shape(turns: Sequence[Turn], text: str, turn: int, part: Part) -> Iterator[Finding]:
    for start, end in phones_in(text):
        digits, place = _ascii_digits(text[start:end]), Place(turn, part, start, end)
        # Parcels, too, have numbers in groups that begin with a 0.
        if text[start] in "+(123456789" or noun_before(turns, place) != "ordinary":
            yield Finding("phone", phone_value(digits), (place,))
    for match in _SOCIAL_SECURITY.finditer(text):
        digits = _ascii_digits(match[0])
        if is_social_security_number(digits):
            yield Finding("ssn", digits, (Place(turn, part, match.start(), match.end()),))


def _ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(sign)) for sign in text if sign.isdecimal())


def _in_run(turns: Sequence[Turn], run: Run) -> Iterator[Finding]:
    digits = run.digits
    if len(digits) < _SECRET_DIGITS.start:
        return
    noun = noun_before(turns, run.places[0])
    kind = _kind_of(turns, run, digits, noun)
    # One number in ten has the check digit of a card by chance: of those that are something else, and
    # of orders and prices in one turn and the next, only what an issuer gives out is a card.
    is_doubtful = kind == "account" or (noun == "ordinary" and len(run.places) > 1)
    if could_be_card(digits) and not is_doubtful:
        yield Finding("card", digits, run.places)
    else:
        for card in _issued_cards(run):
            yield Finding("card", card.digits, card.places)
    if kind is not None:
        value = phone_value(digits) if kind == "phone" else digits
        yield Finding(kind, value, run.places)


def _issued_cards(run: Run) -> list[Run]:
    """Return the parts of a run that are cards; those that overlap come as one."""
    spans: list[tuple[int, int]] = []
    for first, end in _issued_spans(run):
        if spans and first < spans[-1][1]:
            start, furthest = spans.pop()
            spans.append((start, max(furthest, end)))
        else:
            spans.append((first, end))
    return [run.part(first, end) for first, end in spans]


def _issued_spans(run: Run) -> Iterator[tuple[int, int]]:
    for first in range(len(run.numerals)):
        digits = ""
        # Every numeral has a digit at least.
        for end in range(first + 1, min(first + _CARD_DIGITS.stop, len(run.numerals) + 1)):
            digits += run.numerals[end - 1].digits
            if len(digits) >= _CARD_DIGITS.stop:
                break
            if is_issued_card(digits):
                yield first, end


def _kind_of(turns: Sequence[Turn], run: Run, digits: str, noun: Noun | None) -> str | None:
    """Return what a whole run is by its check digit or by what it is called."""
    count = len(digits)
    if noun == "card" and count in _CARD_DIGITS:
        # Speech recognition gets digits wrong, and then the check digit is of no help.
        return "card"
    if is_bank_account(digits):
        return "account"
    if _is_spread_thin(run) or counts_things(turns, run.places[-1]):
        return None
    if noun == "ssn" and count == _SSN_DIGITS:
        return "ssn"
    if noun == "secret" and count in _SECRET_DIGITS:
        return "secret"
    if noun == "routing" and is_routing_number(digits):
        return "routing"
    if noun in ("routing", "account") and count in _ACCOUNT_DIGITS:
        return "account"
    return "phone" if _is_phone(turns, run, digits, noun) else None


def _is_phone(turns: Sequence[Turn], run: Run, digits: str, noun: Noun | None) -> bool:
    first = run.places[0]
    if _PLUS.search(turns[first.turn].text[: first.start]) and len(digits) in _PHONE_DIGITS:
        return True
    if noun == "phone":
        texts = (turns[place.turn].text[place.start : place.end] for place in run.places)
        return len(digits) in _PHONE_DIGITS and not any(holds_date(text) for text in texts)
    is_said_as_one = len(run.numerals) == 1 or all(numeral.is_single for numeral in run.numerals)
    return noun is None and is_said_as_one and could_be_phone(digits)


def _is_spread_thin(run: Run) -> bool:
    """Return whether a turn adds one digit only: it may be another number, such as *2 of them*."""
    by_turn = Counter(n.place.turn for n in run.numerals for _ in n.digits)
    return len(by_turn) > 1 and min(by_turn.values()) == 1
