"""Indicators, outcomes and tallies for the tests of this room, and strategies for arbitrary ones."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from descant.evaluation import Outcome
from descant.schema import Answer, Indicator, unanswered

BINARY = Indicator("greeting", "Greeted?", ("no", "yes"), ("yes",), "binary", "greeting")
INTENT = Indicator(
    "intent", "What for?", ("buy", "ask", "return"), ("buy", "return"), "multiclass", "intent"
)

Pair = tuple[str, str | None]


def answer(indicator: str, label: str | None) -> Answer:
    if label is None:
        return unanswered(indicator, "too long")
    return Answer(indicator, label, {label: 1.0}, 1.0, None)


def outcomes(indicator: Indicator, pairs: Iterable[Pair]) -> list[Outcome]:
    """One outcome for every pair of right label and answer; None is unanswered."""
    return [
        Outcome(str(at), indicator.name, right, answer(indicator.name, label))
        for at, (right, label) in enumerate(pairs)
    ]


def pairs_of(indicator: Indicator) -> st.SearchStrategy[list[Pair]]:
    rights = st.sampled_from(indicator.labels)
    answers = st.sampled_from([*indicator.labels, None])
    return st.lists(st.tuples(rights, answers), min_size=1, max_size=30)
