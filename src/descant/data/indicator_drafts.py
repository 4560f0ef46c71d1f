"""First indicators for labelled data that has none yet: one for each name a label was given under."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descant.data.label_balance import label_names
from descant.schema import Indicator, LabelledTranscript, parse_indicator
from descant.schema.errors import InvalidIndicator

# Where more than this many labels are mostly different, they are remarks and no choice.
_MOST_REMARKS = 10


@dataclass(frozen=True)
class Drafts:
    """What could be made of the data, and why the rest could not."""

    indicators: tuple[Indicator, ...]
    refused: Mapping[str, str]
    """Reason by name."""


def draft_indicators(rows: Sequence[LabelledTranscript]) -> Drafts:
    """Return an indicator per label name; the question is the name, put as one."""
    indicators, refused = [], {}
    for name in sorted(label_names(rows)):
        given = Counter(label for row in rows if (label := row.labels.get(name)) is not None)
        reason = _refusal(given)
        if reason:
            refused[name] = reason
            continue
        try:
            indicators.append(_draft(name, ordered_labels(list(given))))
        except InvalidIndicator as error:
            refused[name] = (
                f"{error} For example: {_usable(name)}." if error.field == "name" else str(error)
            )
    return Drafts(tuple(indicators), refused)


def ordered_labels(labels: Sequence[str]) -> list[str]:
    """Return numbers by size, all else by the alphabet; so no stands before yes."""
    if all(_is_number(label) for label in labels):
        return sorted(labels, key=float)
    return sorted(labels, key=str.casefold)


def _draft(name: str, labels: list[str]) -> Indicator:
    table = {"name": name, "question": _question(name), "labels": labels}
    if len(labels) > 2 and all(map(_is_number, labels)):
        table["kind"] = "ordinal"
    return parse_indicator(table, f"labels.{name}")


def _refusal(given: Mapping[str, int]) -> str | None:
    if len(given) == 1:
        label, count = next(iter(given.items()))
        return f"All {count} labels are {label!r}; there is nothing to tell apart."
    total = sum(given.values())
    if len(given) > max(_MOST_REMARKS, total / 2):
        return f"{len(given)} different labels in {total} conversations: remarks, not a choice."
    return None


def _question(name: str) -> str:
    words = " ".join(name.replace("-", "_").split("_")).strip()
    return f"{words[:1].upper()}{words[1:]}?"


def _usable(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.casefold())
    return "_".join(words).lstrip("0123456789_") or "indicator"


def _is_number(label: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", label) is not None
