"""What the words before a number call it: a card, a phone, an account, or an order.

The noun that stands nearest before the number wins. Where a number comes first in its turn, as an
answer, the nouns of the turns before it count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from descant.data.redaction.finding import Place
from descant.schema import Turn

Noun = Literal["card", "secret", "phone", "ssn", "routing", "account", "ordinary"]

_NOUNS: dict[Noun, str] = {
    "card": r"(?:credit |debit )?card(?: number)?|visa|mastercard|amex|american express",
    "secret": r"cvv2?|cvc2?|(?:security|verification|one[- ]time) (?:code|number|password)"
    r"|(?:digits|number) on the back|pin(?: number)?|passcode",
    "phone": r"(?:tele)?phone|mobile|cell(?:phone)?|landline|fax|whatsapp|call(?:ing)? ?back"
    r"|(?:call|ring|reach|text|contact|dial|phone) (?:me|you|him|her|us|them)"
    r"|(?:my|your|his|her|our|their|best|good|contact|another) number|number (?:to|for) (?:call|reach|ring|dial)\w*",
    "ssn": r"ssn|social(?: security)?",
    "routing": r"routing|aba|transit number|sort code",
    "account": r"accounts?(?: (?:number|no|id))?|acct",
    "ordinary": r"password|order\w*|tracking|reference|ref|confirmation|ticket|invoice|booking|reservation|case"
    r"|claim|policy|serial|model|part|item|sku|product|article|zip|post ?code|postal|flight|parcel"
    r"|shipment|package|member(?:ship)?|employee|version|meter|isbn|barcode|date|year|born|birth|dob"
    r"|amount|total|price|cost|balance|paid|pay|charged?|transfer(?:red)?|dollars|euros?|pounds",
}
_NOUN = re.compile(
    r"\b(?:" + "|".join(rf"(?P<{noun}>{words})" for noun, words in _NOUNS.items()) + r")(?!\w)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?;]\s")
_WORD = re.compile(r"[^\W_]+")
_MAX_CHARACTERS = 100
_MAX_WORDS_BEFORE_AN_ANSWER = 6
_MAX_TURNS_BACK = 4


def noun_before(turns: Sequence[Turn], place: Place) -> Noun | None:
    """Return what kind of number the words before `place` speak of; None if they do not say."""
    if place.part == "speaker":
        return None
    before = turns[place.turn].text[: place.start]
    noun = last_noun(before)
    if noun == "ordinary" and last_noun(_SENTENCE.split(before)[-1]) is None:
        # "I've got my order here. It's 415 ...": not in what is said about the number.
        return None
    if noun is None and len(_WORD.findall(before)) <= _MAX_WORDS_BEFORE_AN_ANSWER:
        for at in range(place.turn - 1, max(place.turn - 1 - _MAX_TURNS_BACK, -1), -1):
            noun = noun or last_noun(turns[at].text)
    return noun


def last_noun(text: str) -> Noun | None:
    """Return what the last noun for a number in the end of `text` speaks of."""
    found: Noun | None = None
    for match in _NOUN.finditer(text[-_MAX_CHARACTERS:]):
        found = match.lastgroup  # type: ignore[assignment]  # the groups are named by the nouns
    return found
