"""Numbers as people write and say them, drawn at random, and a plain reader that undoes it.

The reader shares no code with the finder: it turns every spelled word it knows into digits and drops
all other characters.
"""

from __future__ import annotations

import re

from hypothesis import strategies as st

_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = [
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
]
_SEPARATORS = [
    " ",
    "-",
    "  ",
    ".",
    ", ",
    " - ",
    "/",
    "_",
    "\u00a0",
    "\u2013",
    "\n",
    " uh ",
    ". ",
    " and ",
]
_BRANDS = [("4", 13), ("4", 16), ("4", 19), ("51", 16), ("2221", 16), ("37", 15), ("36", 14)]
_MORE_BRANDS = [("3530", 16), ("6011", 16), ("62", 18), ("6304", 17), ("2201", 16)]


def with_check_digit(digits: str) -> str:
    """Return `digits` and the digit that makes them pass Luhn's test."""
    total = sum(sum(map(int, str(int(d) * (2 - at % 2)))) for at, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, length = draw(st.sampled_from(_BRANDS + _MORE_BRANDS))
    rest = length - len(prefix) - 1
    return with_check_digit(prefix + draw(st.text("0123456789", min_size=rest, max_size=rest)))


@st.composite
def groups(draw: st.DrawFn, digits: str) -> list[str]:
    """Cut digits into groups of one to six, or not at all."""
    if draw(st.booleans()):
        return [digits]
    found = []
    while digits:
        size = draw(st.integers(1, 6))
        found.append(digits[:size])
        digits = digits[size:]
    return found


@st.composite
def written(draw: st.DrawFn, digits: str) -> str:
    """One group of digits: in figures of some script, or spelled."""
    how = draw(st.sampled_from(["figures", "wide", "arabic", "words", "said"]))
    if how == "words":
        return draw(st.sampled_from([" ", "-", ", "])).join(_WORDS[int(d)] for d in digits)
    if how == "said":
        return _said(digits)
    zero = {"figures": "0", "wide": "\uff10", "arabic": "\u0660"}[how]
    return "".join(chr(ord(zero) + int(digit)) for digit in digits)


def _said(digits: str) -> str:
    words = []
    for match in re.finditer(r"(\d)\1\1|(\d)\2|1\d|\d", digits):
        same = match[1] or match[2]
        if same:
            words.append(f"{'triple' if match[1] else 'double'} {_WORDS[int(same)]}")
        elif len(match[0]) == 2:
            words.append(_TEENS[int(match[0][1])])
        else:
            words.append("oh" if match[0] == "0" else _WORDS[int(match[0])])
    return " ".join(words)


@st.composite
def formatted(draw: st.DrawFn, digits: str) -> list[str]:
    """A number in any formatting, as the turns of its speaker: one, or several."""
    turns = [""]
    for group in draw(groups(digits)):
        text = draw(written(group))
        if turns[-1] and draw(st.integers(0, 4)) == 0:
            turns.append(text)
        elif turns[-1]:
            turns[-1] += draw(st.sampled_from(_SEPARATORS)) + text
        else:
            turns[-1] = text
    return turns


def digits_in(texts: list[str]) -> str:
    """Return all digits that are written or spelled in `texts`, with nothing between."""
    text = re.sub(r"\[[A-Z]+_\d+\]", "|", " ".join(texts).casefold()).replace("_", " ")
    for word in ("zero", "oh"):
        text = re.sub(rf"\b{word}\b", "0", text)
    for at, word in enumerate(_TEENS):
        text = re.sub(rf"\b{word}\b", str(10 + at), text)
    for at, word in enumerate(_WORDS):
        text = re.sub(rf"\b{word}\b", str(at), text)
    text = re.sub(r"double (\d)", r"\1\1", re.sub(r"triple (\d)", r"\1\1\1", text))
    return "".join(
        str(int(sign)) if sign.isdecimal() else sign
        for sign in text
        if sign.isdecimal() or sign == "|"
    )
