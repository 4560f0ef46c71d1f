"""How people sound and how speech recognition writes it down: fillers, slips, lost punctuation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from descant.data.scenario_phrases import Said

_FILLERS = ("um", "uh", "er", "erm", "like", "you know", "um", "uh")
_CONTRACTIONS = {
    "I am": "I'm", "it is": "it's", "do not": "don't", "cannot": "can't", "that is": "that's",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z']{5,}")


@dataclass(frozen=True)
class Style:
    """How one speaker's words are written down; every rate is a probability a turn or a word."""

    lower: bool
    unpunctuated: bool
    filler_rate: float
    repeat_rate: float
    typo_rate: float
    spelled_out: bool


def draw_style(rng: Random) -> Style:
    """Return the style of one speaker for a whole call."""
    kind = rng.choices(("clean", "recognised", "messy", "typed"), (46, 22, 22, 10))[0]
    return Style(
        lower=kind == "recognised" or (kind == "typed" and rng.random() < 0.7),
        unpunctuated=kind == "recognised" or (kind == "typed" and rng.random() < 0.4),
        filler_rate=0.3 if kind == "messy" else 0.05,
        repeat_rate=0.02 if kind == "messy" else 0.002,
        typo_rate=0.04 if kind == "typed" else 0.0,
        spelled_out=rng.random() < 0.15,
    )


def roughen(said: Said, style: Style, rng: Random) -> Said:
    """Return the turn as it would be written down in this style; what is meant stays the same."""
    speaker, text = said
    if text.startswith("("):
        return said
    if style.spelled_out:
        text = _spell_out(text)
    text = _stumble(text, style, rng)
    if style.typo_rate:
        text = _WORD.sub(lambda found: _mistype(found[0], style, rng), text)
    if style.unpunctuated:
        text = re.sub(r"\s+", " ", re.sub(r"(?<!\d)[.,!?;:]|[.,!?;:](?!\d)", " ", text)).strip()
    if style.lower:
        text = text.lower()
    elif text[:1].islower():
        text = text[0].upper() + text[1:]
    return speaker, text or said[1]


def _spell_out(text: str) -> str:
    for long, short in _CONTRACTIONS.items():
        text = re.sub(rf"\b{short}\b", long, text)
    return text


def _stumble(text: str, style: Style, rng: Random) -> str:
    words = []
    for word in text.split(" "):
        words.append(word)
        if len(word) < 6 and word.isalpha() and rng.random() < style.repeat_rate:
            words[-1:] = [f"{word},", word]
    if rng.random() < style.filler_rate and len(words) > 3:
        at = rng.randrange(len(words) - 1)
        words.insert(at, f"{rng.choice(_FILLERS)},")
    return " ".join(words)


def _mistype(word: str, style: Style, rng: Random) -> str:
    if rng.random() >= style.typo_rate:
        return word
    at = rng.randrange(1, len(word) - 2)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]
