"""Phrase banks of the sample calls, and how one form of a bank becomes speech.

A bank is a text with one form a line. ``[a|b]`` picks one of several, also inside each other;
``{name}`` stands for a value or a line of another bank; ``A:`` and ``C:`` say whether agent or
customer speaks; `` / `` starts another turn. A line that begins with ``~`` is only for callers
who are upset.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, Literal

Speaker = Literal["agent", "customer"]
Said = tuple[Speaker, str]
Bank = tuple[str, ...]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_SPEAKER: Mapping[str, Speaker] = {"A": "agent", "C": "customer"}


@dataclass(frozen=True)
class Issue:
    """A reason for calling: what is said about it by both sides."""

    banks: Mapping[str, Bank]


@dataclass(frozen=True)
class Industry:
    """A kind of company with its names, products and reasons for calling."""

    name: str
    companies: tuple[str, ...]
    teams: tuple[str, ...]
    products: tuple[tuple[str, str], ...]
    """Name and what is good about it."""
    prices: tuple[str, ...]
    issues: tuple[Issue, ...]


@dataclass
class Voice:
    """Fills in forms for one call; no form of a bank is used twice while others are left."""

    rng: Random
    values: Mapping[str, str]
    upset: bool
    """Whether forms for upset callers may be used."""
    used: set[str] = field(default_factory=set)

    def say(self, bank: Bank) -> list[Said]:
        """Return the turns of one form of the bank."""
        return split_turns(self._fill(self._pick(bank)))

    def _pick(self, bank: Bank) -> str:
        allowed = [form for form in bank if self.upset or not form.startswith("~")]
        fresh = [form for form in allowed if form not in self.used] or allowed
        form = self.rng.choice(fresh)
        self.used.add(form)
        return form.removeprefix("~")

    def _fill(self, text: str) -> str:
        while True:
            chosen = _CHOICE.sub(lambda found: self.rng.choice(found[1].split("|")), text)
            filled = _SLOT.sub(lambda found: self._value(found[1]), chosen)
            if filled == text:
                return text
            text = filled

    def _value(self, name: str) -> str:
        if name in self.values:
            return self.values[name]
        return self._pick(phrase_banks()[name])


def split_turns(text: str) -> list[Said]:
    """Return who says what in a filled form; an unmarked beginning is the customer's."""
    turns: list[Said] = []
    for part in text.split(" / "):
        part = part.strip()
        marked = part[:2] in ("A:", "C:")
        speaker: Speaker = _SPEAKER[part[0]] if marked else "customer"
        spoken = _tidy(part[2:] if marked else part)
        if spoken:
            turns.append((speaker, spoken))
    return turns


def _tidy(text: str) -> str:
    """Take out what an empty choice leaves behind: double spaces, commas before full stops."""
    text = re.sub(r"\s+([,.?!])", r"\1", " ".join(text.split()))
    return re.sub(r"[,;]+([.?!])", r"\1", text).lstrip(",; ")


@cache
def phrase_banks() -> Mapping[str, Bank]:
    """Return every general bank by name; a bank may be spread over several files."""
    folder = files("descant.data") / "sample_calls" / "phrases"
    banks: dict[str, Bank] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name != "values.toml":
            for name, bank in _banks(tomllib.loads(file.read_text(encoding="utf-8"))).items():
                banks[name] = banks.get(name, ()) + bank
    return banks


@cache
def value_lists() -> Mapping[str, tuple[str, ...]]:
    """Return the lists of names, places and other values by name."""
    file = files("descant.data") / "sample_calls" / "phrases" / "values.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: _listed(text, ",") for name, text in table.items()}


@cache
def industries() -> tuple[Industry, ...]:
    """Return every industry, sorted by name."""
    folder = files("descant.data") / "sample_calls" / "industries"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(
        _industry(entry.name.removesuffix(".toml"), tomllib.loads(entry.read_text("utf-8")))
        for entry in entries
    )


def _industry(name: str, table: Mapping[str, Any]) -> Industry:
    products = (entry.split("|") for entry in _listed(table["products"], ";"))
    return Industry(
        name=name,
        companies=_listed(table["companies"], ","),
        teams=_listed(table["teams"], ","),
        products=tuple((product, perk) for product, perk in products),
        prices=_listed(table["prices"], ","),
        issues=tuple(Issue(_banks(issue)) for issue in table["issue"]),
    )


def _banks(table: Mapping[str, str]) -> dict[str, Bank]:
    return {name: _listed(text, "\n") for name, text in table.items()}


def _listed(text: str, separator: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(separator) if entry.strip())
