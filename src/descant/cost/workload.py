"""How much is to be answered."""

from __future__ import annotations

from dataclasses import dataclass

from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class Workload:
    """What comes in on a day.

    Raises:
        InvalidConfig: names the field that cannot be.
    """

    conversations_per_day: float
    tokens: float
    """Of a conversation."""
    questions: int
    """Asked of each."""
    question_tokens: float = 60.0
    """Of a question with its labels, as a prompt says it to a hosted model."""
    answer_tokens: float = 5.0
    """Written by a hosted model for one answer."""
    busy_hours: float = 24.0
    """In which a day's conversations come."""
    peak: float = 2.0
    """The busiest of these hours, over their mean."""
    latency_s: float = 5.0
    """How long a conversation may take, all questions."""

    def __post_init__(self) -> None:
        for name in ("conversations_per_day", "tokens", "questions", "latency_s"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} must be greater than 0.", field=name)
        if not 0 < self.busy_hours <= 24:
            raise InvalidConfig("busy_hours must be above 0, and at most 24.", field="busy_hours")
        if self.peak < 1:
            raise InvalidConfig("peak must be at least 1.", field="peak")

    @property
    def peak_per_hour(self) -> float:
        """Conversations in the busiest hour."""
        return self.conversations_per_day / self.busy_hours * self.peak
