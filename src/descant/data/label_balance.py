"""How often each label was given, and whether an indicator can be learned from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descant.configuration import did_you_mean
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidData, join_errors

# Below that, what is learned of a label hangs on a few conversations.
_FEW = 10


@dataclass(frozen=True)
class LabelBalance:
    """How often each label of one indicator was given."""

    indicator: str
    counts: Mapping[str, int]
    """In the order of the indicator's labels; 0 where nobody gave one."""
    unlabelled: int
    unknown: tuple[str, ...] = ()
    """Labels in the data that the indicator does not have."""

    @property
    def warning(self) -> str | None:
        """What is too rare to be learned well: labels that fewer than ten conversations have."""
        scarce = [f"{label!r} {count}" for label, count in self.counts.items() if count < _FEW]
        return f"few conversations to learn from: {', '.join(scarce)}" if scarce else None


def count_labels(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator]
) -> list[LabelBalance]:
    """Count each indicator's labels; of texts only how many there are, and how many different ones."""
    return [
        _text_balance(rows, indicator.name)
        if indicator.is_text
        else label_balance(rows, indicator.name, indicator.labels)
        for indicator in indicators
    ]


def _text_balance(rows: Sequence[LabelledTranscript], name: str) -> LabelBalance:
    found = label_balance(rows, name, None)
    counts = {f"{len(found.counts)} different texts": sum(found.counts.values())}
    return LabelBalance(name, counts, found.unlabelled)


def label_balance(
    rows: Sequence[LabelledTranscript], name: str, known: Sequence[str] | None
) -> LabelBalance:
    """Count the labels given under a name; without known ones none is unknown."""
    counts = Counter(row.labels.get(name) for row in rows)
    unlabelled = counts.pop(None, 0)
    found = {label: count for label, count in counts.items() if label is not None}
    ordered = [*(known or ()), *sorted(found.keys() - set(known or ()))]
    unknown = () if known is None else tuple(ordered[len(known) :])
    return LabelBalance(
        name, {label: found.get(label, 0) for label in ordered}, unlabelled, unknown
    )


def label_names(rows: Sequence[LabelledTranscript]) -> Counter[str]:
    """Return every name that labels were given under, and how many conversations have one."""
    return Counter(name for row in rows for name, label in row.labels.items() if label is not None)


def unlabelled_ids(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator]
) -> tuple[str, ...]:
    """Return the conversations without a label for any of the indicators."""
    names = [indicator.name for indicator in indicators]
    return tuple(
        row.transcript.id for row in rows if all(row.labels.get(name) is None for name in names)
    )


def check_learnable(rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator]) -> None:
    """Refuse indicators that these conversations cannot teach.

    Raises:
        InvalidData: nobody labelled an indicator, or every label of it is the same.
    """
    names = label_names(rows)
    mistakes = []
    for indicator in indicators:
        counted = label_balance(rows, indicator.name, indicator.labels)
        given = [label for label, count in counted.counts.items() if count]
        if not given:
            mistakes.append(_nobody_labelled(counted.indicator, names))
        elif len(given) == 1:
            mistakes.append(_one_label(counted, given[0]))
    if mistakes:
        raise join_errors(mistakes)


def _nobody_labelled(name: str, names: Mapping[str, int]) -> InvalidData:
    remedy = did_you_mean(name, names) or "Label some conversations, or leave the indicator out."
    return InvalidData(
        f"labels.{name}: no conversation has a label for {name!r}.",
        field=f"labels.{name}",
        remedy=remedy,
    )


def _one_label(counted: LabelBalance, label: str) -> InvalidData:
    return InvalidData(
        f"labels.{counted.indicator}: all {counted.counts[label]} labels are {label!r}; "
        f"there is nothing to tell apart.",
        field=f"labels.{counted.indicator}",
        remedy="Label conversations of the other kind, or leave the indicator out.",
    )
