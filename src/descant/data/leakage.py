"""Refuses data whose labels can be read in the very text that is sent to the model.

An export often carries its labels along: as a line ``refund_offered: yes``, as JSON, as a speaker
column. A model trained on it learns to copy. Ordinary talk must pass: a name of one word, such as
``greeting``, counts only as a key with a label as its value, or as a JSON key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import LabelLeak, join_errors

_BARE_VALUES = ("0", "1", "true", "false", "null", "none")
_KEY_SIGN = r"\s*[:=\uff1a]\s*"


def check_leakage(rows: Iterable[LabelledTranscript], indicators: Sequence[Indicator]) -> None:
    """Refuse conversations in which an indicator's label field shows.

    Raises:
        LabelLeak: names conversations, turns and indicators.
    """
    leaks = list(_leaks(rows, indicators))
    if leaks:
        raise join_errors(leaks)


def _leaks(
    rows: Iterable[LabelledTranscript], indicators: Sequence[Indicator]
) -> Iterator[LabelLeak]:
    patterns = [(indicator.name, _leak_pattern(indicator)) for indicator in indicators]
    names = {_as_name(name) for name, _ in patterns}
    for row in rows:
        for at, turn in enumerate(row.transcript.turns):
            place = f"Conversation {row.transcript.id!r}, turn {at + 1}"
            if _as_name(turn.speaker) in names:
                yield _leak(place, _as_name(turn.speaker), "is the name of the speaker", at)
            # Nearly every turn names no indicator at all, which is cheaper to see than a match.
            spelled = turn.text.casefold().replace("-", "_").replace(" ", "_")
            for name, pattern in patterns:
                if name in spelled and pattern.search(turn.text):
                    yield _leak(place, name, "shows in the text", at)


def _leak_pattern(indicator: Indicator) -> re.Pattern[str]:
    words = indicator.name.split("_")
    spelled = "[ _-]".join(map(re.escape, words))
    values = "|".join(map(re.escape, (*indicator.labels, *_BARE_VALUES)))
    json_key = rf"[\"']{spelled}[\"']{_KEY_SIGN}"
    # As a field of its own, from a line's start or a separator to the next one.
    field = (
        rf"(?:^|[\n{{\[(,;|]\s*){spelled}{_KEY_SIGN}[\"']?(?:{values})[\"']?\s*(?:$|[\n}}\]),;|])"
    )
    forms = [json_key, field]
    if len(words) > 1:
        # Nobody says a name with underscores in it.
        forms.append(rf"(?<!\w){re.escape(indicator.name)}(?!\w)")
        forms.append(rf"(?<!\w){spelled}{_KEY_SIGN}[\"']?(?:{values})(?!\w)")
    return re.compile("|".join(forms), re.IGNORECASE)


def _as_name(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip()).casefold()


def _leak(place: str, name: str, how: str, at: int) -> LabelLeak:
    return LabelLeak(
        f"{place}: the label field {name!r} {how}.",
        field=f"turns[{at}]",
        remedy="Take labels out of the conversation; they belong under labels.",
    )
