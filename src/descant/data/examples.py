"""From labelled conversations to what training reads: token ids and the index of each right label.

The renderer that serves is the renderer that trains; this file asks it for ids and knows no tokens.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from descant.data.soft_labels import soft_label_tables
from descant.data.transcripts import validate_labels
from descant.schema import Indicator, LabelledTranscript, Transcript
from descant.schema.errors import ContextTooLong, join_errors


class TranscriptRenderer(Protocol):
    """What turns a conversation into the token ids that all indicators share."""

    def render_transcript(self, transcript: Transcript, /) -> list[int]:
        """Return the shared prefix."""
        ...


@dataclass(frozen=True)
class Example:
    """One conversation to learn from."""

    transcript_id: str
    prefix_ids: tuple[int, ...]
    """Token ids of the conversation, read once for all indicators."""
    targets: Mapping[str, int]
    """Indicator name to the index of the right label; indicators without a label are left out."""
    probabilities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Indicator name to a teacher's probability for each label, where it gave any."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Indicator name to how much its label counts; 1 where left out."""


def build_examples(
    rows: Iterable[LabelledTranscript],
    indicators: Sequence[Indicator],
    renderer: TranscriptRenderer,
    max_prefix_tokens: int,
    answers: Mapping[str, Sequence[str]] | None = None,
) -> list[Example]:
    """Render every conversation that has a label for at least one indicator; nothing is cut off.

    Targets are places in `answers`, by indicator name; in those of `answer_lists` unless given.

    Raises:
        InvalidData: labels are not among their indicators'.
        ContextTooLong: conversations have more than `max_prefix_tokens` tokens.
    """
    rows = list(rows)
    validate_labels(rows, indicators)
    lists = answer_lists(rows, indicators) if answers is None else answers
    places = {name: {text: at for at, text in enumerate(texts)} for name, texts in lists.items()}
    examples = [
        Example(
            row.transcript.id,
            tuple(renderer.render_transcript(row.transcript)),
            targets,
            _probabilities(row, indicators),
            {name: row.weights[name] for name in targets if name in row.weights},
        )
        for row in rows
        if (targets := _targets(row, places))
    ]
    too_long = [
        _too_long(example, max_prefix_tokens)
        for example in examples
        if len(example.prefix_ids) > max_prefix_tokens
    ]
    if too_long:
        raise join_errors(too_long)
    return examples


def data_hash(rows: Iterable[LabelledTranscript]) -> str:
    """Return ``sha256:…`` over ids, turns, labels and what stands beside these.

    Order and null labels do not change it.
    """
    digests = sorted(hashlib.sha256(_canonical(row)).digest() for row in rows)
    return "sha256:" + hashlib.sha256(b"".join(digests)).hexdigest()


def answer_lists(
    rows: Iterable[LabelledTranscript], indicators: Sequence[Indicator]
) -> dict[str, tuple[str, ...]]:
    """Return, by indicator name, its labels; of free text every one that was written, sorted."""
    rows = list(rows)
    written = {
        indicator.name: {row.labels.get(indicator.name) for row in rows}
        for indicator in indicators
        if indicator.is_text
    }
    return {
        indicator.name: tuple(sorted(text for text in written[indicator.name] if text is not None))
        if indicator.is_text
        else indicator.labels
        for indicator in indicators
    }


def _targets(row: LabelledTranscript, places: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {
        name: place[label]
        for name, place in places.items()
        if (label := row.labels.get(name)) is not None
    }


def _probabilities(
    row: LabelledTranscript, indicators: Sequence[Indicator]
) -> dict[str, tuple[float, ...]]:
    tables = {i.name: row.probabilities[i.name] for i in indicators if i.name in row.probabilities}
    totals = {name: math.fsum(table.values()) for name, table in tables.items()}
    return {
        i.name: tuple(tables[i.name].get(label, 0.0) / totals[i.name] for label in i.labels)
        for i in indicators
        if i.name in tables
    }


def _too_long(example: Example, max_prefix_tokens: int) -> ContextTooLong:
    return ContextTooLong(
        f"Conversation {example.transcript_id!r} has {len(example.prefix_ids)} tokens; "
        f"at most {max_prefix_tokens} can be read.",
        field="turns",
        remedy="Leave it out, split it, or use a model that reads more.",
    )


def _canonical(row: LabelledTranscript) -> bytes:
    turns = [[turn.speaker, turn.text] for turn in row.transcript.turns]
    labels = {name: label for name, label in row.labels.items() if label is not None}
    content: list[Any] = [row.transcript.id, turns, labels]
    if beside := soft_label_tables(row):
        content.append(beside)
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
