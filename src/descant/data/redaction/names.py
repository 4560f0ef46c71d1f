"""Names of the speakers: from the speaker column, from introductions and from forms of address.

A name is looked for in the whole conversation once it is known to be one. People who are only talked
about are not found: that takes a model of the language, such as Presidio's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from descant.data.redaction.finding import PLACEHOLDER, Finding, Place, written_parts
from descant.data.redaction.name_words import NOT_A_NAME, ROLES, WORDS_THAT_ARE_NAMES
from descant.schema import Turn

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_IS = "(?:['\u2019]s| is)"
_ARE = "(?:['\u2019]re| are)"
# What stands after these is a name.
_INTRODUCTION = re.compile(
    rf"\b(?:(?:my|the|first|last|full|family|given|maiden) name{_IS}|surname{_IS}"
    rf"|you{_ARE} (?:speaking|talking) (?:to|with)"
    r"|this is(?=\s+\S+(?:\s+\S+)?\s+speaking\b)"
    r"|(?:mrs?|mister)\b\.?|(?-i:Ms|Mx|Miss|Dr)\b\.?)\s+",
    re.IGNORECASE,
)
# After these it may be; what somebody is called by in another turn is one.
_LEAD = re.compile(r"\b(?:this is|i['\u2019]m|i am|it['\u2019]s|through to)\s+", re.IGNORECASE)
_SIGNED = re.compile(rf"\b{_WORD.pattern}(?=\s+(?:here|speaking)\b)")
_CALLED = (
    r"(?:^|[,.!?]\s*|\b(?i:hi|hello|hey|you|thanks|okay|ok|yes|no|bye|goodbye|sorry|dear|morning"
    r"|afternoon|evening|well)\s+)"
)
_CALLED_TO_THE_END = r"\s*(?:[,.!?]|$)"
_GREETED = re.compile(
    r"\b(?:hi|hello|hey|thanks|thank you|bye|goodbye|dear|mr|mrs)\s+$", re.IGNORECASE
)
_SENTENCE_START = re.compile(r"(?:^|[.!?\u2026]\s+|[\"\u201c]\s*)$")
_MARK = re.compile(r"\s*[,.!?]|$")
_MAX_WORDS = 3
_MAX_SMALL_WORDS = 2
_MIN_SPELLED_LETTERS = 3


class _Name(NamedTuple):
    words: tuple[str, ...]
    place: Place


class NameFinder:
    """Finds the names of speakers; `roles` are words of the speaker column that are none."""

    def __init__(self, roles: Iterable[str] = ()):
        self._roles = ROLES | {role.casefold() for role in roles}

    def find(self, turns: Sequence[Turn]) -> Iterator[Finding]:
        """Yield findings of the kind name."""
        names = [*self._in_labels(turns), *_introduced(turns), *_called(turns)]
        people: list[dict[str, None]] = []
        for name in names:
            words = dict.fromkeys(word.casefold() for word in name.words)
            person = next((person for person in people if person.keys() & words), None)
            if person is None:
                people.append(words)
            else:
                person |= words
        for person in people:
            yield from _all_of(turns, tuple(person), names)

    def _in_labels(self, turns: Sequence[Turn]) -> Iterator[_Name]:
        for at, turn in enumerate(turns):
            if "@" in turn.speaker:
                continue
            label = PLACEHOLDER.sub(lambda match: " " * len(match[0]), turn.speaker)
            words = [match for match in _WORD.finditer(label) if self._is_name(match[0])]
            if words:
                place = Place(at, "speaker", words[0].start(), words[-1].end())
                yield _Name(tuple(match[0] for match in words), place)

    def _is_name(self, word: str) -> bool:
        return len(word) > 1 and word.casefold() not in self._roles


def _introduced(turns: Sequence[Turn]) -> Iterator[_Name]:
    for at, turn in enumerate(turns):
        for lead in _INTRODUCTION.finditer(turn.text):
            name = _name_at(at, turn.text, lead.end())
            if name is not None:
                yield name


def _called(turns: Sequence[Turn]) -> Iterator[_Name]:
    """Yield names somebody may have given as theirs and is called by in another turn."""
    for at, turn in enumerate(turns):
        starts = [lead.end() for lead in _LEAD.finditer(turn.text)]
        starts += [name.start() for name in _SIGNED.finditer(turn.text)]
        for start in starts:
            name = _name_at(at, turn.text, start)
            if name is None or not name.words[0][0].isupper():
                continue
            call = re.compile(f"{_CALLED}{re.escape(name.words[0])}{_CALLED_TO_THE_END}")
            if any(call.search(other.text) for other in (*turns[:at], *turns[at + 1 :])):
                yield name


def _name_at(turn: int, text: str, start: int) -> _Name | None:
    """Return the words that may be a name from `start`: capitals, or one or two small words."""
    words: list[str] = []
    end = start
    while len(words) < _MAX_WORDS:
        match = _WORD.match(text, end + (1 if words and text[end : end + 1] == " " else 0))
        if match is None or len(match[0]) < 2 or _ends_a_name(match[0], is_first=not words):
            break
        is_small = match[0][0].islower()
        if words and is_small and (words[0][0].isupper() or len(words) == _MAX_SMALL_WORDS):
            break
        words.append(match[0])
        end = match.end()
    return _Name(tuple(words), Place(turn, "text", start, end)) if words else None


def _ends_a_name(word: str, *, is_first: bool) -> bool:
    word = word.casefold()
    # "My name is Will", but not "Maria will".
    return word in NOT_A_NAME and not (is_first and word in WORDS_THAT_ARE_NAMES)


def _all_of(
    turns: Sequence[Turn], person: Sequence[str], names: Sequence[_Name]
) -> Iterator[Finding]:
    """Yield every place where a person is named; where the name was given, however it is written."""
    for name in names:
        if name.words[0].casefold() in person:
            yield Finding("name", person[0], (name.place,))
    pattern = _pattern(person)
    for at, part, text in written_parts(turns):
        for match in pattern.finditer(text):
            if match["spelled"] or any(_is_written_as_name(w, text) for w in _words_at(match)):
                place = Place(at, part, match.start(), match.end())
                yield Finding("name", person[0], (place,))


def _pattern(person: Sequence[str]) -> re.Pattern[str]:
    any_word = "|".join(re.escape(word) for word in sorted(person, key=len, reverse=True))
    spelled = "|".join(
        r"[\s.,-]{1,3}".join(map(re.escape, word))
        for word in person
        if len(word) >= _MIN_SPELLED_LETTERS
    )
    written = rf"(?:{any_word})(?:[ -]+(?:{any_word}))*"
    return re.compile(
        rf"(?<!\w)(?:(?P<spelled>{spelled or '(?!)'})|{written})(?!\w)", re.IGNORECASE
    )


def _words_at(match: re.Match[str]) -> Iterator[re.Match[str]]:
    return _WORD.finditer(match.string, match.start(), match.end())


def _is_written_as_name(word: re.Match[str], text: str) -> bool:
    if word[0].casefold() not in WORDS_THAT_ARE_NAMES:
        # Speech recognition without capitals, or somebody who types none.
        return word[0][0].isupper() or not any(sign.isupper() for sign in text)
    before = text[: word.start()]
    ends = _MARK.match(text, word.end()) is not None
    if word[0][0].isupper() and not _SENTENCE_START.search(before):
        return True
    return ends and (word[0][0].isupper() or _GREETED.search(before) is not None)
