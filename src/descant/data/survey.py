"""What a person should know about labelled conversations before training on them, one finding a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from descant.data.label_balance import count_labels, unlabelled_ids
from descant.data.languages import count_languages
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import MissingDependency

_MOST_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str


def survey(
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    num_tokens: Sequence[int],
    max_tokens: int,
) -> list[Finding]:
    """Look at conversations; `num_tokens` is how long each is, `max_tokens` what the model reads."""
    return [
        _conversations(rows),
        *_lengths(rows, num_tokens, max_tokens),
        _languages(rows),
        *_labels(rows, indicators),
    ]


def _conversations(rows: Sequence[LabelledTranscript]) -> Finding:
    turns = sorted(len(row.transcript.turns) for row in rows)
    speakers = Counter(turn.speaker for row in rows for turn in row.transcript.turns)
    said = ", ".join(repr(name) for name, _ in speakers.most_common(_MOST_NAMED))
    more = ", ..." if len(speakers) > _MOST_NAMED else ""
    text = f"{len(rows):,}, of {turns[0]} to {turns[-1]} turns; speakers {said}{more}"
    return Finding("conversations", text)


def _lengths(
    rows: Sequence[LabelledTranscript], num_tokens: Sequence[int], max_tokens: int
) -> Iterator[Finding]:
    longest = max(range(len(rows)), key=num_tokens.__getitem__)
    high = (
        quantiles(num_tokens, n=20, method="inclusive")[-1]
        if len(num_tokens) > 1
        else num_tokens[0]
    )
    yield Finding(
        "lengths",
        f"median {median(num_tokens):,.0f} tokens, 95 % up to {high:,.0f}, longest "
        f"{num_tokens[longest]:,} ({rows[longest].transcript.id})",
    )
    too_long = [
        row.transcript.id for row, count in zip(rows, num_tokens, strict=True) if count > max_tokens
    ]
    if too_long:
        yield Finding(
            "too long",
            f"the model reads {max_tokens:,} tokens; split or leave out {named(too_long)}",
        )


def _languages(rows: Sequence[LabelledTranscript]) -> Finding:
    try:
        counts = count_languages(rows)
    except MissingDependency as error:
        return Finding("languages", f"not looked at. {error.remedy}")
    shares = (f"{code} {count / len(rows):.0%}" for code, count in counts.most_common(_MOST_NAMED))
    return Finding("languages", ", ".join(shares))


def _labels(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator]
) -> Iterator[Finding]:
    without = unlabelled_ids(rows, indicators)
    if without:
        yield Finding("no label", named(without))
    for counted in count_labels(rows, indicators):
        if counted.warning:
            yield Finding(counted.indicator, counted.warning)


def named(ids: Sequence[str]) -> str:
    """Return how many conversations these are, and the first few by name; nothing for none."""
    if not ids:
        return ""
    listed = ", ".join(ids[:_MOST_NAMED])
    return f"{len(ids):,}: {listed}{', ...' if len(ids) > _MOST_NAMED else ''}"
