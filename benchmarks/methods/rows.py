"""The rows that every method learns from and is judged on."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.data import (
    HARD_INDICATORS,
    multidogo_indicators,
    read_multidogo,
    read_star,
    star_indicators,
)
from descant.data.splits import Fractions, split_rows
from descant.schema import Indicator, LabelledTranscript, Transcript, Turn

EASY_INDICATORS = (
    "agent_greeted",
    "agent_asked_name",
    "agent_offered_more_help",
    "outcome_success_message",
    "outcome_failure_message",
    "agent_asked_confirmation",
)
FINANCE_INTENTS = (
    "checkbalance",
    "disputecharge",
    "replacecard",
    "reportlostcard",
    "transfermoney",
    "updateaddress",
)
MAX_WORDS = 150
"""Longer dialogues of STAR are left out: plain LoRA reads each of them forward and backward, 14 times
an epoch, and there are three seeds to be had from two cores."""
_HARD = dict.fromkeys(HARD_INDICATORS, 300)
_EASY = dict.fromkeys(EASY_INDICATORS, 120)


@dataclass(frozen=True)
class Study:
    """A row has labels for those indicators alone that learn from it or are judged by it."""

    name: str
    indicators: tuple[Indicator, ...]
    train: list[LabelledTranscript]
    dev: list[LabelledTranscript]


def star(folder: Path) -> Study:
    """Eight hard indicators of service dialogues, and six easy ones.

    Some have few labels on dev: a fifth of the training dialogues is judged on, too, and not learned from.
    """
    indicators = star_indicators([*HARD_INDICATORS, *EASY_INDICATORS])
    train, dev = (
        [row for row in read_star(folder, part) if _num_words(row) <= MAX_WORDS]
        for part in ("train", "dev")
    )
    splits = split_rows(train, Fractions(0.8, 0.2, 0.0))
    return Study(
        "star",
        indicators,
        learnable(splits["train"], indicators, {**_HARD, **_EASY}),
        judged([*dev, *splits["dev"]], indicators, 200),
    )


def multidogo(folder: Path) -> Study:
    """Six intents of customers of a bank: does the conversation have it?"""
    indicators = multidogo_indicators(FINANCE_INTENTS)
    train, dev = (
        list(read_multidogo(folder / "finance" / f"{part}.tsv.gz")) for part in ("train", "dev")
    )
    return Study(
        "multidogo",
        indicators,
        learnable(train, indicators, dict.fromkeys(FINANCE_INTENTS, 120)),
        judged(dev, indicators, 200),
    )


def banking77(folder: Path) -> Study:
    """One question with 77 answers about what a customer wrote; every tenth row is for dev."""
    intents = json.loads((folder / "categories.json").read_text())
    indicator = Indicator(
        "intent",
        "What does the customer want?",
        tuple(intents),
        (intents[0],),
        "multiclass",
        "intent",
    )
    rows = []
    with gzip.open(folder / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            transcript = Transcript(str(number), (Turn("customer", row["text"]),))
            rows.append(LabelledTranscript(transcript, {"intent": row["category"]}))
    train = [row for number, row in enumerate(rows) if number % 10]
    return Study("banking77", (indicator,), _each_label(train, 12), _shuffled(rows[::10])[:400])


STUDIES: dict[str, Callable[[Path], Study]] = {
    "star": star,
    "multidogo": multidogo,
    "banking77": banking77,
}


def learnable(
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    counts: Mapping[str, int],
) -> list[LabelledTranscript]:
    """Return rows with so many labels an indicator, a third of them of the rarer label if there are."""
    return _merged(rows, indicators, lambda own, name: _with_rare(own, name, counts[name]))


def judged(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator], count: int
) -> list[LabelledTranscript]:
    """Return rows with up to `count` labels an indicator, as frequent as they are."""
    return _merged(rows, indicators, lambda own, name: own[:count])


def _merged(
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    choose: Callable[[list[LabelledTranscript], str], list[LabelledTranscript]],
) -> list[LabelledTranscript]:
    rows = _shuffled(rows)
    labels: dict[str, dict[str, str | None]] = defaultdict(dict)
    for name in (indicator.name for indicator in indicators):
        own = [row for row in rows if row.labels.get(name) is not None]
        for row in choose(own, name):
            labels[row.transcript.id][name] = row.labels[name]
    chosen = [row for row in rows if row.transcript.id in labels]
    return [replace(row, labels=labels[row.transcript.id]) for row in chosen]


def _with_rare(own: list[LabelledTranscript], name: str, count: int) -> list[LabelledTranscript]:
    frequencies = Counter(row.labels[name] for row in own)
    rarest = min(frequencies, key=lambda label: frequencies[label])
    first = own[:count]
    if 3 * sum(row.labels[name] == rarest for row in first) >= count:
        return first
    rare = [row for row in own if row.labels[name] == rarest][: count // 3]
    return [*rare, *(row for row in own if row.labels[name] != rarest)][:count]


def _num_words(row: LabelledTranscript) -> int:
    return sum(len(turn.text.split()) for turn in row.transcript.turns)


def _each_label(rows: Sequence[LabelledTranscript], count: int) -> list[LabelledTranscript]:
    taken: Counter[str | None] = Counter()
    chosen = []
    for row in _shuffled(rows):
        label = row.labels["intent"]
        if taken[label] < count:
            taken[label] += 1
            chosen.append(row)
    return chosen


def _shuffled(rows: Sequence[LabelledTranscript]) -> list[LabelledTranscript]:
    """Return an order that follows from the ids alone."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.transcript.id.encode()).digest())
