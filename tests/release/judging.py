"""Pairs of texts, and a judge of the test's own that likes what names a refund."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.evaluation import PairLabel
from descant.release import EndpointPlan, LabelledPair, TextPair
from tests.distillation.calls import transcript

GOOD, BAD, OTHER = "asks for a refund", "says hello", "says goodbye"


def likes_refunds(body: Mapping[str, Any]) -> str:
    """The answer with *refund* in it, in whichever place."""
    lines = body["messages"][-1]["content"].splitlines()
    [first] = [line for line in lines if line.startswith("first answer: ")]
    [second] = [line for line in lines if line.startswith("second answer: ")]
    if ("refund" in first) == ("refund" in second):
        return "tie"
    return "first" if "refund" in first else "second"


def pair(at: int, first: str, second: str) -> TextPair:
    return TextPair(transcript(at), "reason", "Why did they call?", "a refund", first, second)


def labelled(count: int) -> tuple[LabelledPair, ...]:
    """As the judge would have it."""
    kinds: list[tuple[str, str, PairLabel]] = [
        (GOOD, BAD, "first"),
        (BAD, GOOD, "second"),
        (BAD, OTHER, "tie"),
    ]
    return tuple(
        LabelledPair(pair(at, *kinds[at % 3][:2]), kinds[at % 3][2]) for at in range(count)
    )


def judge_at(address: str) -> EndpointPlan:
    return EndpointPlan(address, "judge")
