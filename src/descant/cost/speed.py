"""What a machine was measured at: a file that ``descant bench fanout --json`` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.cost.workload import Workload
from descant.schema.errors import InvalidData


@dataclass(frozen=True)
class MeasuredSpeed:
    """One conversation with all its questions, measured alone on the machine."""

    tokens: float
    questions: int
    reading_s: float
    answers_s: float
    """Behind the reading, of all questions."""

    @property
    def question_s(self) -> float:
        """What one more question takes."""
        return self.answers_s / self.questions

    def conversation_s(self, workload: Workload) -> float:
        """Return the seconds of a conversation of this workload.

        Semantics:
            reading * T / measured T + answers * A / measured A
        """
        reading_s = self.reading_s * workload.tokens / self.tokens
        return reading_s + self.question_s * workload.questions


def read_speed(path: Path) -> MeasuredSpeed:
    """Read a measurement.

    Raises:
        InvalidData: the file cannot be read, or is not one.
    """
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        reading_s, whole_s = float(table["reading_s"]), float(table["fanout_s"])
        found = MeasuredSpeed(
            float(table["tokens"]), int(table["adapters"]), reading_s, whole_s - reading_s
        )
    except OSError as error:
        raise InvalidData(f"{path}: cannot be read: {error.strerror}.", field="measured") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidData(
            f"{path}: is not a measurement.",
            field="measured",
            remedy="Measure with: descant bench fanout --tokens 2000 --adapters 60 --json > FILE",
        ) from error
    if not (found.tokens > 0 and found.questions > 0 and found.reading_s > 0 <= found.answers_s):
        raise InvalidData(f"{path}: holds figures that cannot be.", field="measured")
    return found
