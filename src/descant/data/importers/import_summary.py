"""What came in with an import, counted while it goes by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from descant.schema import LabelledTranscript


@dataclass
class ImportSummary:
    """Counts of one import; a label of None is a conversation without one."""

    format: str
    files: int
    other_files: int
    """Visible files of a folder that are none of the format's."""
    conversations: int = 0
    turns_of: Counter[str] = field(default_factory=Counter)
    """Speaker to turns."""
    labels: dict[str, Counter[str | None]] = field(default_factory=dict)
    """Indicator to label to conversations."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Id of a conversation that was left out, to the reason."""
    labels_unused: int = 0
    """Rows of the label file whose conversation did not come in."""

    def add(self, row: LabelledTranscript) -> None:
        """Count one conversation."""
        self.conversations += 1
        self.turns_of.update(turn.speaker for turn in row.transcript.turns)
        for name, label in row.labels.items():
            self.labels.setdefault(name, Counter())[label] += 1

    def labelled(self, name: str) -> dict[str | None, int]:
        """Return how often each label of an indicator came in, the commonest first."""
        counts = self.labels[name]
        unlabelled = self.conversations - counts.total() + counts[None]
        given: dict[str | None, int] = dict(counts.most_common())
        given.pop(None, None)
        return {**given, None: unlabelled} if unlabelled else given

    def to_json(self) -> dict[str, Any]:
        """Return all counts; conversations without a label of an indicator stand under ``""``."""
        return {
            "format": self.format,
            "files": self.files,
            "other_files": self.other_files,
            "conversations": self.conversations,
            "turns": self.turns_of.total(),
            "speakers": dict(self.turns_of.most_common()),
            "labels": {
                name: {label or "": count for label, count in self.labelled(name).items()}
                for name in sorted(self.labels)
            },
            "left_out": self.left_out,
            "labels_unused": self.labels_unused,
        }
