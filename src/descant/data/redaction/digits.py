"""Numbers as people write and say them: ``4111-1111``, ``four one double one``, ``forty-one eleven``.

A numeral is one group of digits; a run is numerals with nothing between them but spaces, marks and
words such as *uh* or *dash*. A run may go on in the next turn of the same speaker, when a number is
read out in parts and the other side only says *mm-hm*.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from descant.data.redaction.finding import PLACEHOLDER, Part, Place
from descant.data.redaction.naming import last_noun, noun_before
from descant.schema import Turn

_UNITS = {
    "zero": "0", "oh": "0", "o": "0", "nought": "0", "naught": "0", "one": "1", "two": "2",
    "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_TEENS = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS = {
    "twenty": "2", "thirty": "3", "forty": "4", "fourty": "4", "fifty": "5", "sixty": "6",
    "seventy": "7", "eighty": "8", "ninety": "9",
}  # fmt: skip
_TIMES = {"double": 2, "triple": 3, "treble": 3}

_UNIT = "|".join(_UNITS)
# As \b, but for the underscore, which is no part of a word here.
_FROM, _TO = r"(?<![^\W_])", r"(?![^\W_])"
SPELLED = rf"(?:{'|'.join((*_UNITS, *_TEENS, *_TENS, *_TIMES))}){_TO}"
"""The first word of a numeral that is spelled out."""
NUMERAL = (
    rf"(?P<placeholder>(?-i:{PLACEHOLDER.pattern}))"
    rf"|(?P<written>\d+)"
    # No other letter begins one: most words are passed over at once.
    rf"|(?=[defnostz]){_FROM}(?:(?P<times>{'|'.join(_TIMES)})[\s-]+"
    rf"(?:(?P<repeated>{_UNIT}){_TO}|(?P<one>\d)(?!\d))"
    rf"|(?P<unit>{_UNIT}){_TO}(?!['\u2019])"
    rf"|(?P<teen>{'|'.join(_TEENS)}){_TO}"
    rf"|(?P<ten>{'|'.join(_TENS)}){_TO}"
    rf"(?:[\s-]+(?P<more>one|two|three|four|five|six|seven|eight|nine){_TO})?)"
)
_NUMERAL = re.compile(NUMERAL, re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_SAYS_NOTHING = (
    "uh um uhm umm er erm ah eh hm hmm mm mhm and then dash hyphen minus space dot point slash comma "
    "ok okay yes yeah yep right so plus"
)
FILLERS = frozenset(_SAYS_NOTHING.split())
"""Words that may stand between the digits of one number."""
# Times, prices, shares and fields of a form end a number.
_BARRIER = re.compile(r"[:$\u20ac\u00a3\u00a5\u20b9%#@=<>{}\[\]]")
# Nobody goes on with a number and says what it counts.
_UNIT_OF = re.compile(
    r"\s*(?:[%\u20ac\u00a3$]|(?:euros?|dollars?|pounds?|cents?|quid|bucks?|percent|[ap]\.?m|o'clock|times"
    r"|seconds?|minutes?|hours?|days?|weeks?|months?|years?|points?|miles?|people|items?|of)\b)",
    re.IGNORECASE,
)
_MAX_GAP_CHARACTERS = 32
_MAX_TURNS_BETWEEN = 4
_MAX_WORDS_BETWEEN = 15


class Numeral(NamedTuple):
    """One group of digits, written or spelled out."""

    digits: str
    """ASCII digits."""
    place: Place
    is_single: bool
    """One digit, or one digit said to come two or three times."""
    is_exclamation: bool
    """*Oh*, which is a zero or no number at all."""


@dataclass(frozen=True)
class Run:
    """Numerals that may be one number."""

    numerals: tuple[Numeral, ...]

    @property
    def digits(self) -> str:
        """All digits."""
        return "".join(numeral.digits for numeral in self.numerals)

    @property
    def places(self) -> tuple[Place, ...]:
        """From the first to the last numeral of each turn."""
        places: list[Place] = []
        for numeral in self.numerals:
            place = numeral.place
            if places and places[-1].turn == place.turn:
                places[-1] = places[-1]._replace(end=place.end)
            else:
                places.append(place)
        return tuple(places)

    def part(self, first: int, end: int) -> Run:
        """Return the run of numerals `first` up to but not including `end`."""
        return Run(self.numerals[first:end])


def to_digits(match: re.Match[str]) -> str:
    """Return the ASCII digits a match of `NUMERAL` stands for; none for a placeholder."""
    said = {name: text.casefold() for name, text in match.groupdict().items() if text}
    if "written" in said or "one" in said:
        written = "".join(
            str(unicodedata.decimal(d)) for d in said.get("written", said.get("one", ""))
        )
        return written * _TIMES.get(said.get("times", ""), 1)
    if "repeated" in said:
        return _UNITS[said["repeated"]] * _TIMES[said["times"]]
    if "ten" in said:
        return _TENS[said["ten"]] + _UNITS[said.get("more", "zero")]
    return _UNITS.get(said.get("unit", ""), "") or _TEENS.get(said.get("teen", ""), "")


def runs_in(text: str, turn: int, part: Part) -> list[Run]:
    """Return the runs of one text from left to right."""
    runs: list[list[Numeral]] = []
    ends_at: int | None = None
    for match in _NUMERAL.finditer(text):
        if match["placeholder"]:
            ends_at = None
            continue
        numeral = _numeral(match, turn, part)
        if ends_at is not None and _is_filler(text[ends_at : match.start()]):
            runs[-1].append(numeral)
        else:
            runs.append([numeral])
        ends_at = match.end()
    return [Run(tuple(run)) for run in runs]


def runs_over_turns(turns: Sequence[Turn], runs: Sequence[Sequence[Run]]) -> Iterator[Run]:
    """Yield the runs that go on over several turns of one speaker; `runs` are those of each turn."""
    follower = {
        at: after
        for at in range(len(turns))
        if runs[at] and (after := _next_part(turns, runs, at)) is not None
    }
    inner = {at for at in follower.values() if len(runs[at]) == 1}
    for at in sorted(follower.keys() - inner):
        numerals, here = list(runs[at][-1].numerals), at
        while here in follower:
            here = follower[here]
            numerals += runs[here][0].numerals
            if len(runs[here]) > 1:
                break
        yield Run(tuple(numerals))


def counts_things(turns: Sequence[Turn], place: Place) -> bool:
    """Return whether the number that ends `place` is a quantity: euros, days, per cent."""
    return place.part == "text" and _UNIT_OF.match(turns[place.turn].text, place.end) is not None


def _numeral(match: re.Match[str], turn: int, part: Part) -> Numeral:
    digits = to_digits(match)
    return Numeral(
        digits,
        Place(turn, part, match.start(), match.end()),
        is_single=len(set(digits)) == 1 and (len(digits) == 1 or match["times"] is not None),
        is_exclamation=(match["unit"] or "").casefold() in ("oh", "o"),
    )


def _is_filler(gap: str) -> bool:
    if len(gap) > _MAX_GAP_CHARACTERS or _BARRIER.search(gap):
        return False
    return all(word.casefold() in FILLERS for word in _WORD.findall(gap))


def _next_part(turns: Sequence[Turn], runs: Sequence[Sequence[Run]], at: int) -> int | None:
    last = runs[at][-1].numerals[-1].place
    if not _is_filler(turns[at].text[last.end :]):
        return None
    noun = noun_before(turns, runs[at][-1].numerals[0].place)
    for after in range(at + 1, min(at + 2 + _MAX_TURNS_BETWEEN, len(turns))):
        turn = turns[after]
        if turn.speaker == turns[at].speaker and runs[after]:
            place = runs[after][0].places[0]
            is_next = _is_filler(turn.text[: place.start]) and not counts_things(turns, place)
            return after if is_next else None
        # "And your PIN?" asks for another number.
        is_other = last_noun(turn.text) not in (None, noun)
        if is_other or len(_WORD.findall(turn.text)) > _MAX_WORDS_BETWEEN:
            return None
    return None
