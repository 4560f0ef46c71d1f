"""International bank account numbers, written in any grouping or spelled out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from descant.data.redaction.checksums import iban_length, is_iban
from descant.data.redaction.digits import FILLERS, NUMERAL, SPELLED, to_digits
from descant.data.redaction.finding import Finding, Place
from descant.schema import Turn

_START = re.compile(
    rf"(?<![^\W_])([A-Z])[\s.-]?([A-Z])(?=[\s.-]{{0,2}}(?:\d|{SPELLED}))", re.IGNORECASE
)
_SIGN = re.compile(rf"{NUMERAL}|(?P<letters>[^\W\d_]+)", re.IGNORECASE)
# One that is called so may have been misheard, and then its check digits are of no help.
_NAMED = re.compile(r"\biban\b", re.IGNORECASE)
_MAX_CHARACTERS = 40
_MAX_LETTERS = 4
_MIN_DIGITS = 10


class IbanFinder:
    """Finds IBANs, also over several turns of one speaker."""

    def find(self, turns: Sequence[Turn]) -> Iterator[Finding]:
        """Yield findings of the kind iban."""
        for at, turn in enumerate(turns):
            for match in _START.finditer(turn.text):
                length = iban_length((match[1] + match[2]).upper())
                found = length and _read(turns, at, match.start(), length)
                if found:
                    yield found


def _read(turns: Sequence[Turn], first: int, start: int, length: int) -> Finding | None:
    """Return the IBAN of so many characters that begins at `start` of a turn, if one does."""
    code, places = "", list[Place]()
    for at, sign in _signs(turns, first, start):
        written = (sign["letters"] or "").upper() or to_digits(sign)
        if code and written.casefold() in FILLERS:
            continue
        if not written or (sign["letters"] and len(written) > _MAX_LETTERS):
            return None
        code += written
        if places and places[-1].turn == at:
            places[-1] = places[-1]._replace(end=sign.end())
        else:
            places.append(Place(at, "text", sign.start(), sign.end()))
        if len(code) >= length or not _begins_an_iban(code):
            break
    # A sentence of short words may have the right check digits by chance; it has no digits.
    has_digits = sum(sign.isdigit() for sign in code) >= _MIN_DIGITS
    is_named = _NAMED.search(turns[first].text, max(0, start - _MAX_CHARACTERS), start) is not None
    is_right = is_iban(code) or (is_named and len(code) == length)
    return Finding("iban", code, tuple(places)) if has_digits and is_right else None


def _signs(turns: Sequence[Turn], first: int, start: int) -> Iterator[tuple[int, re.Match[str]]]:
    for at in range(first, len(turns)):
        if turns[at].speaker == turns[first].speaker:
            for match in _SIGN.finditer(turns[at].text, start if at == first else 0):
                yield at, match


def _begins_an_iban(code: str) -> bool:
    return all(sign.isdigit() for sign in code[2:4])
