"""Scores of orders in words: what was ordered, with what, and above all without what.

``burger, no onions`` and ``burger, onions`` share all words but one, and are opposites. So an order is
read into items with what goes on and what stays off, and a *no* that is lost, made up or moved to
another item is never half right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from descant.evaluation.row_scores import RowScore, Unscored

_SEPARATOR = re.compile(r"[,;.\n]|\bplus\b|\band\b|\bbut\b|&")
_OFF = re.compile(
    r"\b(?:without|no|not|w/o|minus|hold(?: the)?|leave (?:off|out)(?: the)?|skip(?: the)?|sans|"
    r"free of|(?:do not|don't|doesn't|does not) (?:want|add|put|like|include)(?: any)?|never|none of)"
    r"(?=\s)|(?<=\w)n't\b"
)
_ON = re.compile(r"\b(?:with|extra|add(?:ed)?|more)\b")
_FREE = re.compile(r"\b(\w+)-free\b")
_EMPTY = frozenset(
    [
        "a",
        "an",
        "the",
        "some",
        "any",
        "please",
        "of",
        "on",
        "it",
        "i",
        "i'd",
        "we",
        "want",
        "would",
        "like",
        "to",
        "have",
        "me",
        "get",
    ]
)
_NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}


@dataclass(frozen=True)
class OrderItem:
    """One thing ordered."""

    name: str
    on: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OrderResult:
    """One order beside the one that was given."""

    is_exact: bool
    lost_negations: tuple[str, ...]
    """What should stay off and would not, as ``item: thing``."""
    false_negations: tuple[str, ...]
    """What would stay off and should not."""

    @property
    def score(self) -> float:
        """1.0 where everything is right, else 0.0."""
        return float(self.is_exact)


def compare_orders(expected: str, output: str) -> OrderResult:
    """Compare two orders in words; items may come in any order, and so may what goes on them."""
    right, found = read_order(expected), read_order(output)
    wanted, given = (Counter(_negations(order)) for order in (right, found))
    return OrderResult(
        Counter(right) == Counter(found),
        tuple(sorted((wanted - given).elements())),
        tuple(sorted((given - wanted).elements())),
    )


def order_score(expected: str, output: str | None) -> RowScore:
    """Return 1.0 for the very same order, 0.0 for another one, and `Unscored` for none."""
    return Unscored("no output") if output is None else compare_orders(expected, output).score


def read_order(text: str) -> tuple[OrderItem, ...]:
    """Return the items of an order; what goes on or stays off belongs to the item before it."""
    items: list[OrderItem] = []
    for part in _SEPARATOR.split(_FREE.sub(r"without \1", _plain(text))):
        for sign, words in _signed(part):
            _take(items, sign, words)
    return tuple(items)


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("’", "'").replace("\n", ",").split())


def _signed(part: str) -> list[tuple[str, str]]:
    """Return a part cut at its cues: an item, then what goes ``on`` or stays ``off``."""
    cues = [(found.start(), found.end(), "off") for found in _OFF.finditer(part)]
    cues += [(found.start(), found.end(), "on") for found in _ON.finditer(part)]
    cues.sort()
    begins = [start for start, _, _ in cues] + [len(part)]
    signed = [("item", part[: begins[0]])]
    for (_, begin, sign), end in zip(cues, begins[1:], strict=True):
        signed += [(sign, each) for each in re.split(r"\bor\b|\bnor\b", part[begin:end])]
    return [(sign, words) for sign, words in signed if _words(words)]


def _take(items: list[OrderItem], sign: str, text: str) -> None:
    words = " ".join(_words(text))
    if sign == "item":
        items.append(OrderItem(words))
        return
    last = items.pop() if items else OrderItem("")
    on, off = (last.on | {words}, last.off) if sign == "on" else (last.on, last.off | {words})
    items.append(OrderItem(last.name, on, off))


def _words(text: str) -> list[str]:
    words = re.findall(r"[\w']+", text)
    return [_NUMBERS.get(word, word) for word in words if word not in _EMPTY]


def _negations(order: Sequence[OrderItem]) -> list[str]:
    return [f"{item.name}: {thing}" for item in order for thing in item.off]
