"""One scorecard out of several: each indicator's answer from the stage that settled it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from descant.gateway.cascade.offers import Json
from descant.schema import unanswered

_USAGE_SUMS = ("tokens_read", "tokens_shared", "time_s")


def answers_by_indicator(body: Json) -> dict[str, Json]:
    """Return a scorecard's answers by name."""
    return {answer["indicator"]: answer for answer in body["answers"]}


def merge_scorecards(
    bodies: Sequence[Json], order: Sequence[str], answers: Mapping[str, Json]
) -> dict[str, Any]:
    """Return the scorecard of the first body with these answers and what all together used.

    `order` are the indicators as they were asked.
    """
    merged = {**bodies[0], "answers": [answers[name] for name in order]}
    usages = [body["usage"] for body in bodies if isinstance(body.get("usage"), Mapping)]
    if usages:
        sums = {key: sum(usage.get(key) or 0 for usage in usages) for key in _USAGE_SUMS}
        merged["usage"] = {**usages[0], **sums}
    return merged


def for_review(answer: Json) -> dict[str, Any]:
    """Return an answer that says of itself that a person will look at it."""
    return {**answer, "needs_review": True}


def unanswered_by_cascade(indicator: str, reason: str) -> dict[str, Any]:
    """Return the answer that says why there is none, as a scorecard has it."""
    return {**asdict(unanswered(indicator, reason)), "source": "cascade"}
