"""Mail addresses as people write them, and as speech recognition writes what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from descant.data.redaction.finding import Finding, Part, Place, written_parts
from descant.schema import Turn

_AT = re.compile(r"@|\bat\b", re.IGNORECASE)
# RFC 5321: at most 64 characters before the sign; said aloud, an address takes more.
_MAX_NAME_CHARACTERS = 64
_MAX_SPOKEN_CHARACTERS = 100
_WRITTEN_NAME = re.compile(r"[\w.+%'&-]*\w[\w+%-]*\s?$")
_WRITTEN_HOST = re.compile(r"\s?(?:[\w-]+\.)+[^\W\d_]{2,}")
_MARK = r"(?:dot|point|period|underscore|dash|hyphen|minus|plus)"
# "jane dot doe at mail dot example dot com"; letters may be spelled, "j d o e at ...", but one letter
# alone is a word: "a look at ...".
_SPOKEN_NAME = re.compile(
    rf"(?:(?<![\w'\u2019])[b-hj-z\d]\s+(?:\w\s+)*)?(?:[\w+-]+\s+{_MARK}\s+)*[\w.+-]+(?:\s+\d+)?\s+$",
    re.IGNORECASE,
)
_SPOKEN_HOST = re.compile(
    r"\s+(?:[\w-]+\s+){1,2}?(?:dot\s+[\w-]+\s+){0,2}?dot\s+"
    r"(?:(?:com?|org|net|gov|ac)\s+dot\s+[a-z]{2}|[a-z]{2,6})\b"
    r"|\s+(?:[\w-]+\.)+[a-z]{2,6}\b",
    re.IGNORECASE,
)
_MAIL_HOST = re.compile(
    r"\s+(?:g ?mail|google ?mail|yahoo|hot ?mail|outlook|i ?cloud|aol|proton ?mail|proton|gmx|msn|live)\b",
    re.IGNORECASE,
)
_MAIL_NOUN = re.compile(r"\be?-?mail", re.IGNORECASE)
# "Have a look at example dot com" names a page, not an address.
_PLAIN = "look us me it online here there visit order buy sold shop store website site page"
_NO_NAMES = frozenset(_PLAIN.split())
_COMPOSITE = re.compile(r"[\d._+-]|\w\s+\w")


class MailFinder:
    """Finds mail addresses."""

    def find(self, turns: Sequence[Turn]) -> Iterator[Finding]:
        """Yield findings of the kind mail."""
        for at, part, text in written_parts(turns):
            for sign in _AT.finditer(text):
                written = sign[0] == "@"
                span = _written(text, sign) if written else _spoken(turns, at, part, text, sign)
                if span is not None:
                    start, end = span
                    yield Finding("mail", _value(text[start:end]), (Place(at, part, start, end),))


def _written(text: str, sign: re.Match[str]) -> tuple[int, int] | None:
    shift = max(0, sign.start() - _MAX_NAME_CHARACTERS)
    name = _WRITTEN_NAME.search(text[shift : sign.start()])
    host = _WRITTEN_HOST.match(text, sign.end())
    return (shift + name.start(), host.end()) if name and host else None


def _spoken(
    turns: Sequence[Turn], at: int, part: Part, text: str, sign: re.Match[str]
) -> tuple[int, int] | None:
    host = _SPOKEN_HOST.match(text, sign.end())
    if host is None:
        return None
    shift = max(0, sign.start() - _MAX_SPOKEN_CHARACTERS)
    before = text[shift : sign.start()]
    name = _SPOKEN_NAME.search(before)
    if name is None or name[0].strip().casefold() in _NO_NAMES:
        return None
    is_address = (
        _MAIL_HOST.match(text, sign.end())
        or _COMPOSITE.search(name[0])
        or _MAIL_NOUN.search(before)
        or (part == "text" and at > 0 and _MAIL_NOUN.search(turns[at - 1].text))
    )
    return (shift + name.start(), host.end()) if is_address else None


def _value(text: str) -> str:
    text = re.sub(r"\s+(?:dot|point|period)\s+", ".", text.casefold())
    text = re.sub(r"\s+at\s+", "@", text)
    return re.sub(r"\s+", "", text)
