"""May the candidate take the champion's place? Both answered the same task; this decides, and says why.

*Claims* are what a promotion asserts: in the mean over the indicators, and on every critical one, the
candidate is not worse by the margin. All have to be shown. *Guards* look for harm: an indicator, a slice
or the share of answers on which the candidate is worse, beyond chance and by more than the guard's
margin. Any of them stops the release, and so does one example that must never break.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from descant.evaluation.noise_floor import NoiseFloor
from descant.evaluation.pairing import Pairing
from descant.evaluation.protected import ProtectedExample, find_breakages
from descant.evaluation.release_checks import difference_checks, noise_checks, protected_checks
from descant.evaluation.release_policy import (
    ReleaseCheck,
    ReleaseDecision,
    ReleasePolicy,
    Verdict,
)
from descant.evaluation.slices import Slice
from descant.evaluation.task import Predictions
from descant.schema import Indicator


@dataclass(frozen=True)
class ReleaseEvidence:
    """What is known beside the answers."""

    slices: Sequence[Slice] = ()
    protected: Sequence[ProtectedExample] = ()
    noise: NoiseFloor | None = None
    """Of two runs of the champion, in the policy's measure."""
    cluster_of: Mapping[str, str] = field(default_factory=dict)
    """Conversation to what it shares with others, such as its agent; a conversation that is left out
    stands for itself."""


def decide_release(
    indicators: Sequence[Indicator],
    candidate: Predictions,
    champion: Predictions,
    policy: ReleasePolicy | None = None,
    evidence: ReleaseEvidence | None = None,
) -> ReleaseDecision:
    """Compare a candidate with the champion on one task.

    Raises:
        InvalidData: they are not of the same conversations and indicators.
    """
    policy, evidence = policy or ReleasePolicy(), evidence or ReleaseEvidence()
    pairing = Pairing.of(indicators, candidate, champion)
    broken = find_breakages(candidate, evidence.protected)
    checks = [
        *difference_checks(pairing, evidence.slices, evidence.cluster_of, policy),
        *noise_checks(evidence.noise, policy),
        *protected_checks(broken, len(evidence.protected)),
    ]
    return ReleaseDecision(
        candidate.task, verdict_of(checks), tuple(checks), len(pairing), pairing.split(), policy
    )


def verdict_of(checks: Sequence[ReleaseCheck]) -> Verdict:
    """Return reject where anything failed, hold where anything is unsure, else promote."""
    outcomes = {check.outcome for check in checks}
    if "fail" in outcomes:
        return "reject"
    return "hold" if "unsure" in outcomes else "promote"
