"""What a release looks at, one statement after the other, and what each comes to.

Claims are shown or not; guards find harm or do not. Each of the two families is corrected by Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from descant.evaluation.design_effect import clustered_non_inferiority
from descant.evaluation.measures import MEASURES
from descant.evaluation.noise_floor import NoiseFloor
from descant.evaluation.non_inferiority import NonInferiority, non_inferiority
from descant.evaluation.pairing import Counted, Pairing, difference_of
from descant.evaluation.protected import Breakage
from descant.evaluation.release_policy import CheckOutcome, ReleaseCheck, ReleasePolicy
from descant.evaluation.significance import holm_p_values
from descant.evaluation.slices import Slice
from descant.evaluation.statistics import cluster_tallies

Clusters = Mapping[str, str]


@dataclass(frozen=True)
class _Part:
    """Some of the answers, and what is asked of them."""

    name: str
    pairing: Pairing
    is_claim: bool = False
    pooled: Counted | None = None
    """Count answers of all indicators together; None: the policy's measure, indicator by indicator."""


@dataclass(frozen=True)
class _Finding:
    part: _Part
    found: NonInferiority


def difference_checks(
    pairing: Pairing, slices: Sequence[Slice], clusters: Clusters, policy: ReleasePolicy
) -> list[ReleaseCheck]:
    """Return what paired answers say: the mean, every indicator, every slice, the answered share."""
    parts = _parts(pairing, slices)
    enough = [part for part in parts if len(part.pairing) >= policy.min_support]
    measured = {
        part.name: _measured(part, clusters, _finer(policy, part, parts)) for part in enough
    }
    findings = [_Finding(part, found) for part in enough if (found := measured[part.name])]
    checks = _claims(findings, policy) + _guards(findings, policy)
    return checks + [_untested(part, policy) for part in parts if not measured.get(part.name)]


def noise_checks(noise: NoiseFloor | None, policy: ReleasePolicy) -> list[ReleaseCheck]:
    """Return whether the margin is wider than what two runs of the champion differ by."""
    if noise is None:
        return []
    is_wider = policy.margin > noise.floor
    reason = (
        f"Two runs of the champion differ by at most {_points(noise.floor)}, "
        f"{'less' if is_wider else 'not less'} than the margin of {_points(policy.margin)}."
    )
    outcome: CheckOutcome = "pass" if is_wider else "unsure"
    return [ReleaseCheck("noise", outcome, reason, noise.floor, margin=policy.margin)]


def protected_checks(broken: Sequence[Breakage], count: int) -> list[ReleaseCheck]:
    """Return one failed check for every example that must not break and does, or that none does."""
    if count and not broken:
        reason = f"All {count} examples that must never break are answered as they must be."
        return [ReleaseCheck("protected", "pass", reason)]
    return [
        ReleaseCheck(
            f"protected {each.example.transcript_id}",
            "fail",
            f"Must never break: {each.example.indicator} of {each.example.transcript_id!r}: "
            f"{each.reason}.",
        )
        for each in broken
    ]


def _parts(pairing: Pairing, slices: Sequence[Slice]) -> list[_Part]:
    several = pairing.indicators if len(pairing.indicators) > 1 else ()
    return [
        _Part("mean", pairing, is_claim=True),
        *(_Part(each.name, pairing.only(each.name), each.critical) for each in several),
        *(_Part(each.name, pairing.pick(each.ids), pooled="right") for each in slices),
        _Part("answered", pairing, pooled="answered"),
    ]


def _finer(policy: ReleasePolicy, part: _Part, parts: Sequence[_Part]) -> ReleasePolicy:
    """Return the policy with resamples enough for the part's family.

    A p-value of resamples is at least one over their number, and Holm multiplies it.
    """
    family = sum(each.is_claim == part.is_claim for each in parts)
    return replace(policy, resamples=max(policy.resamples, ceil(4 * family / policy.alpha)))


def _measured(part: _Part, clusters: Clusters, policy: ReleasePolicy) -> NonInferiority | None:
    margin = policy.margin if part.is_claim else policy.guard_margin
    pooled = part.pooled
    if policy.measure == "accuracy" and len(part.pairing.indicators) == 1:
        pooled = pooled or "right"
    if pooled is not None:
        counts = cluster_tallies(part.pairing.counts(pooled), part.pairing.clusters(clusters))
        wins, losses, totals = counts.T
        return clustered_non_inferiority(wins, losses, totals, margin, policy.alpha)
    measure = MEASURES[policy.measure]
    return non_inferiority(
        part.pairing.clustered(clusters).tallies,
        lambda tally: difference_of(tally, measure),
        margin,
        alpha=policy.alpha,
        seed=policy.seed,
        resamples=policy.resamples,
    )


def _claims(findings: Sequence[_Finding], policy: ReleasePolicy) -> list[ReleaseCheck]:
    """Return the claims: shown, refuted, or neither; and the gain where one is asked for."""
    claims = [each for each in findings if each.part.is_claim]
    shown = holm_p_values([each.found.p_value for each in claims])
    worse = holm_p_values([each.found.worse_p_value for each in claims])
    checks = [
        _claim(each, adjusted, refuted, policy.alpha)
        for each, adjusted, refuted in zip(claims, shown, worse, strict=True)
    ]
    if policy.must_gain and claims and claims[0].part.name == "mean":
        checks.append(_gain(claims[0].found, policy.alpha))
    return checks


def _claim(each: _Finding, shown: float, refuted: float, alpha: float) -> ReleaseCheck:
    found, name = each.found, each.part.name
    span = f"{_signed(found.value)} [{_signed(found.low)}, {_signed(found.high)}]"
    outcome: CheckOutcome
    if shown <= alpha and found.is_shown:
        outcome, says = "pass", f"is not worse by {_points(found.margin)}"
    elif refuted <= alpha:
        outcome, says = "fail", "is worse"
    else:
        outcome, says = "unsure", f"is not shown not to be worse by {_points(found.margin)}"
    return _check(found, name, outcome, f"{name}: the candidate {says}: {span}.", shown)


def _gain(found: NonInferiority, alpha: float) -> ReleaseCheck:
    is_shown = found.better_p_value <= alpha
    says = "is better" if is_shown else "is not shown to be better"
    reason = f"gain: the candidate {says}: {_signed(found.value)}, p = {found.better_p_value:.3g}."
    return ReleaseCheck(
        "gain",
        "pass" if is_shown else "unsure",
        reason,
        found.value,
        found.low,
        found.high,
        0.0,
        found.better_p_value,
        found.better_p_value,
    )


def _guards(findings: Sequence[_Finding], policy: ReleasePolicy) -> list[ReleaseCheck]:
    guards = [each for each in findings if not each.part.is_claim]
    worse = holm_p_values([each.found.worse_p_value for each in guards])
    return [
        _guard(each, adjusted, policy.alpha) for each, adjusted in zip(guards, worse, strict=True)
    ]


def _guard(each: _Finding, worse: float, alpha: float) -> ReleaseCheck:
    found, name = each.found, each.part.name
    is_harm = worse <= alpha and found.value < -found.margin
    says = "the candidate is worse" if is_harm else "no harm found"
    reason = f"{name}: {says}: {_signed(found.value)}, Holm's p = {worse:.3g}."
    outcome: CheckOutcome = "fail" if is_harm else "pass"
    found = replace(found, p_value=found.worse_p_value)
    return _check(found, name, outcome, reason, worse)


def _check(
    found: NonInferiority, name: str, outcome: CheckOutcome, reason: str, holm: float
) -> ReleaseCheck:
    return ReleaseCheck(
        name,
        outcome,
        reason,
        found.value,
        found.low,
        found.high,
        found.margin,
        found.p_value,
        holm,
    )


def _untested(part: _Part, policy: ReleasePolicy) -> ReleaseCheck:
    count = len(part.pairing)
    why = "the measure is not defined on them" if count >= policy.min_support else "too few"
    reason = f"{part.name}: not tested: {count} conversations, {why}."
    return ReleaseCheck(part.name, "unsure" if part.is_claim else "untested", reason)


def _points(share: float) -> str:
    return f"{share * 100:.2f} points"


def _signed(share: float) -> str:
    return f"{share * 100:+.2f}"
