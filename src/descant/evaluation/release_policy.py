"""What a candidate has to show before it takes the champion's place, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from descant.evaluation.measures import MEASURES
from descant.evaluation.pairing import Split
from descant.schema.errors import InvalidConfig

Verdict = Literal["promote", "hold", "reject"]
CheckOutcome = Literal["pass", "unsure", "fail", "untested"]


@dataclass(frozen=True)
class ReleasePolicy:
    """The rule of a release.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    measure: str = "macro_f1"
    """Of `descant.evaluation.MEASURES`; its mean over the indicators is what is claimed."""
    margin: float = 0.02
    """By how much the candidate must be shown not to be worse, in the mean and on every critical
    indicator."""
    alpha: float = 0.05
    """How often a candidate that is worse by the margin may be promoted all the same."""
    must_gain: bool = False
    """Whether it must also be shown to be better than the champion in the mean."""
    guard_margin: float = 0.05
    """A loss on another indicator or on a slice stops a release where it is larger than this and no
    chance."""
    min_support: int = 30
    """Conversations below which nothing is said about an indicator or a slice."""
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            known = ", ".join(MEASURES)
            raise InvalidConfig(
                f"{self.measure!r} is not a measure.", field="measure", remedy=f"Known: {known}."
            )
        for name in ("margin", "alpha", "guard_margin"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must lie between 0 and 1.", field=name)
        for name in ("min_support", "resamples"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)


@dataclass(frozen=True)
class ReleaseCheck:
    """One thing that was looked at."""

    name: str
    outcome: CheckOutcome
    reason: str
    """One sentence for people."""
    value: float | None = None
    """Candidate less champion."""
    low: float | None = None
    """Above it with 1 - alpha."""
    high: float | None = None
    """Below it with 1 - alpha."""
    margin: float | None = None
    p_value: float | None = None
    """Of what is claimed: not worse by the margin; for a guard, of being worse at all."""
    holm_p_value: float | None = None
    """The same for all claims, or all guards, at once."""


@dataclass(frozen=True)
class ReleaseDecision:
    """Whether the candidate may take the champion's place, and why."""

    task: str
    verdict: Verdict
    """``reject`` where harm is shown, ``hold`` where too little is known, else ``promote``."""
    checks: tuple[ReleaseCheck, ...]
    conversations: int
    split: Split
    """Answers by who was right, the candidate being the one."""
    policy: ReleasePolicy

    @property
    def reasons(self) -> tuple[str, ...]:
        """What decided: all that failed, else all that is unsure, else what was shown."""
        for outcome in ("fail", "unsure", "pass"):
            found = tuple(check.reason for check in self.checks if check.outcome == outcome)
            if found:
                return found
        return ()

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return {**asdict(self), "reasons": list(self.reasons)}
