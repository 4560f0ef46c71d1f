"""Phone numbers by how they are written, whatever their country and whether or not they are in use.

Shape, not validity: a number of which speech recognition got one digit wrong is still someone's.
E.164 allows 15 digits; the North American plan writes 3-3-4; most other countries begin a national
number with a 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHAPES = re.compile(
    # +49 30 901820, 0049 30 901820
    r"(?:\+\s?|(?<![\w.,:$-])(?<!\d\s)00[\s-]?)[1-9](?:[\s().\u2010-\u2015/-]{0,2}\d){6,14}(?!\d)"
    # (415) 555-2671, 1-415-555-2671, 415.555.2671
    r"|(?<![\w.,:$-])(?:1[\s.-])?(?:\([2-9]\d\d\)\s?|[2-9]\d\d[\s.\u2010-\u2015-])"
    r"\d{3}[\s.\u2010-\u2015-]\d{4}(?![\d-])"
    # 020 7946 0958, 01 23 45 67 89, 030/901820
    r"|(?<![\w.,:$-])(?<!\d\s)\(?0[1-9]\d{0,3}\)?(?:[\s./\u2010-\u2015-]\d{2,8}){1,4}(?![\d-])"
)
_DATE = re.compile(
    r"(?<![\d./-])(?:(?:19|20)\d\d[\s./-](?:0?[1-9]|1[0-2])[\s./-](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|[12]\d|3[01])[./-](?:(?:19|20)\d\d|\d\d(?![./-]\d)))"
    r"(?!\d)"
)
_BARE = re.compile(r"1?[2-9]\d\d[2-9]\d{6}|0[1-9]\d{8,9}")
_TRUNK_DIGITS = range(9, 13)


def phones_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of every phone number that is written as one."""
    for match in _SHAPES.finditer(text):
        written = match[0]
        is_national = written.lstrip("(").startswith("0") and not written.startswith("00")
        has_length = len(re.findall(r"\d", written)) in _TRUNK_DIGITS
        if not holds_date(written) and (has_length or not is_national):
            yield match.start(), match.end()


def holds_date(text: str) -> bool:
    """Return whether a date is written in `text` in figures."""
    return _DATE.search(text) is not None


def could_be_phone(digits: str) -> bool:
    """Return whether these digits alone look like a North American or a national number."""
    return _BARE.fullmatch(digits) is not None


def phone_value(digits: str) -> str:
    """Return the digits without the prefixes that say the same number in other ways."""
    digits = digits.removeprefix("00")
    return digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
