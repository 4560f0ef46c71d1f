"""A model that answers at once, and what a test needs to watch it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from descant.schema import (
    AdapterRef,
    Answer,
    Indicator,
    Scorecard,
    Transcript,
    Usage,
    unanswered,
)

POLITE = Indicator("polite", "Polite?", ("no", "yes"), ("yes",), "binary", "polite")
UPSELL = Indicator("upsell", "Upsell?", ("no", "yes"), ("yes",), "binary", "upsell")
REF = AdapterRef("polite", "sha256:1")


@dataclass
class FakeModel:
    """Answers "yes" with the adapter it has, and says that it has no other."""

    before_score: Callable[[], object] = lambda: None
    seen: list[Transcript] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    model_name: str = "tiny"
    base_hash: str = "sha256:0"

    def adapters(self) -> list[AdapterRef]:
        return [REF]

    def score(self, conversation: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        self.threads.add(threading.current_thread().name)
        self.seen.append(conversation)
        self.before_score()
        answers = tuple(
            Answer("polite", "yes", {"no": 0.25, "yes": 0.75}, 0.75, REF)
            if indicator.name == "polite"
            else unanswered(indicator.name, "No adapter is loaded for it.")
            for indicator in indicators
        )
        return Scorecard(conversation.id, answers, Usage(20, 40, 0.1))
