"""What a candidate may cost in time and money."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from descant.evaluation import ReleaseCheck
from descant.release.contestant import Contestant

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Limits:
    """The most that is allowed; None is no limit."""

    conversation_s: Positive | None = None
    """Seconds for all indicators of a conversation, one conversation at a time."""
    money_per_1000: Positive | None = None
    """For 1,000 conversations."""
    unanswered_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of all answers."""

    def checks(self, candidate: Contestant) -> Iterator[ReleaseCheck]:
        """Yield what each limit comes to; what was not measured is unsure."""
        yield from _check("latency", candidate.conversation_s, self.conversation_s, "s")
        yield from _check("cost", candidate.money_per_1000, self.money_per_1000, "per 1,000")
        share = candidate.unanswered_share
        yield from _check("unanswered", share, self.unanswered_share, "of all answers")


def _check(
    name: str, found: float | None, limit: float | None, unit: str
) -> Iterator[ReleaseCheck]:
    if limit is None:
        return
    if found is None:
        yield ReleaseCheck(name, "unsure", f"{name}: not measured; at most {limit:g} {unit}.")
        return
    is_within = found <= limit
    says = "within" if is_within else "above"
    reason = f"{name}: {found:.3g} {unit}, {says} the limit of {limit:g}."
    yield ReleaseCheck(name, "pass" if is_within else "fail", reason, found)
