"""Texts of candidate and champion in a judge's eyes: won, lost, tied, and what that comes to.

Only a judge whose agreement with people was measured, and is enough, may decide; else nothing is
decided, with the reason. Where only one of the two gave a text at all, it has won.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from descant.evaluation import (
    JudgedPair,
    NonInferiority,
    Outcome,
    PairTally,
    Predictions,
    ReleaseCheck,
    Task,
    Unscored,
    cluster_tallies,
    clustered_non_inferiority,
    holm_p_values,
)
from descant.release.judge import TextPair
from descant.release.judge_measurement import JudgeMeasurement
from descant.release.judge_policy import JudgePolicy
from descant.schema import Indicator

SUFFIX = " (judged)"
_WON, _LOST, _TIED = (
    JudgedPair("first", "second"),
    JudgedPair("second", "first"),
    JudgedPair("tie", "tie"),
)


@dataclass(frozen=True)
class JudgedTexts:
    """What a judge said of all texts of a task, or why it may not say anything."""

    measurement: JudgeMeasurement | None
    refusal: str | None
    """Why the judge may not decide; None where it may."""
    pairs: Mapping[tuple[str, str], JudgedPair]
    """By conversation and indicator, the candidate's text being the first."""

    def tallies(self, indicators: Sequence[Indicator]) -> dict[str, PairTally]:
        """Return what became of the pairs of each indicator."""
        names = [indicator.name for indicator in indicators if indicator.is_text]
        return {
            name: PairTally.of([p for (_, n), p in self.pairs.items() if n == name])
            for name in names
        }

    def to_json(self, indicators: Sequence[Indicator]) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        tallies = self.tallies(indicators) if self.refusal is None else {}
        return {
            "measurement": self.measurement and self.measurement.to_json(),
            "refusal": self.refusal,
            "by_indicator": {name: tally.to_json() for name, tally in tallies.items()},
        }


def refusal_of(measurement: JudgeMeasurement | None, policy: JudgePolicy) -> str | None:
    """Return why a judge may not decide; None where it may."""
    if measurement is None:
        return (
            "its agreement with people was not measured with this model, prompt and labelled pairs; "
            "descant judge measures it"
        )
    found = measurement.agreement
    if found.pairs < policy.min_pairs:
        return f"it was measured on {found.pairs} pairs; {policy.min_pairs} are asked for"
    if found.lower_bound is None:
        return "kappa is not defined: all verdicts are the same"
    if found.lower_bound < policy.min_kappa:
        return (
            f"its kappa against people is shown to be at least {found.lower_bound:.2f} only, on "
            f"{found.pairs} pairs; {policy.min_kappa:g} is asked for"
        )
    return None


def text_pairs(
    task: Task, candidate: Predictions, champion: Predictions
) -> tuple[dict[tuple[str, str], TextPair], dict[tuple[str, str], JudgedPair]]:
    """Return the pairs that need a judge, and those that are decided without one."""
    transcripts = {row.transcript.id: row.transcript for row in task.rows}
    open_pairs: dict[tuple[str, str], TextPair] = {}
    decided: dict[tuple[str, str], JudgedPair] = {}
    for indicator, ours, theirs in _sides(task.indicators, candidate, champion):
        key, texts = (ours.transcript_id, indicator.name), (ours.answer.label, theirs.answer.label)
        first, second = texts
        if first is None or second is None:
            decided[key] = _TIED if first == second else _WON if second is None else _LOST
            continue
        transcript = transcripts[ours.transcript_id]
        open_pairs[key] = TextPair(
            transcript, indicator.name, indicator.question, ours.expected, first, second
        )
    return open_pairs, decided


def judged_checks(
    judged: JudgedTexts,
    indicators: Sequence[Indicator],
    clusters: Mapping[str, str],
    policy: JudgePolicy,
    alpha: float,
) -> list[ReleaseCheck]:
    """Return whether the judge may decide and, where it may, what it says of each indicator.

    Each text indicator is a claim: all must be shown, so that asking for several does not let more
    pass. Harm is corrected by Holm.
    """
    if judged.refusal is not None:
        return [ReleaseCheck("judge", "unsure", f"judge: may not decide: {judged.refusal}.")]
    assert judged.measurement is not None, "a judge that may decide was measured"
    found = judged.measurement.agreement
    reason = (
        f"judge: kappa against people at least {found.lower_bound:.2f} on {found.pairs} pairs, "
        f"{policy.min_kappa:g} is asked for."
    )
    claims = [
        _Claim(indicator.name, _counts(judged, indicator.name, clusters), tally)
        for indicator in indicators
        if indicator.is_text and (tally := judged.tallies([indicator])[indicator.name])
    ]
    checks = [ReleaseCheck("judge", "pass", reason, found.lower_bound)]
    return checks + list(_claim_checks(claims, policy, alpha))


@dataclass(frozen=True)
class _Claim:
    name: str
    counts: NDArray[np.int64]
    """Won, lost and judged by cluster, ``[C, 3]``."""
    tally: PairTally


def _claim_checks(
    claims: Sequence[_Claim], policy: JudgePolicy, alpha: float
) -> Iterator[ReleaseCheck]:
    tested = [claim for claim in claims if claim.tally.judged]
    results = [_result(claim, policy, alpha) for claim in tested]
    worse = holm_p_values([result.worse_p_value for result in results])
    for claim, result, adjusted in zip(tested, results, worse, strict=True):
        outcome, says = _outcome(claim, result.is_shown, adjusted, policy, alpha)
        tally = claim.tally
        reason = (
            f"{claim.name}{SUFFIX}: {says}: {tally.wins} won, {tally.losses} lost, {tally.ties} tied "
            f"({tally.depends_on_order} by order), {tally.unjudged} not judged: "
            f"{result.value * 100:+.2f} [{result.low * 100:+.2f}, {result.high * 100:+.2f}]."
        )
        yield ReleaseCheck(
            claim.name + SUFFIX,
            outcome,
            reason,
            result.value,
            result.low,
            result.high,
            policy.margin,
            result.p_value,
            adjusted,
        )
    for claim in claims:
        if claim not in tested:
            reason = f"{claim.name}{SUFFIX}: no pair was judged."
            yield ReleaseCheck(claim.name + SUFFIX, "unsure", reason)


def _result(claim: _Claim, policy: JudgePolicy, alpha: float) -> NonInferiority:
    wins, losses, totals = claim.counts.T
    return clustered_non_inferiority(wins, losses, totals, policy.margin, alpha)


def _outcome(
    claim: _Claim, is_shown: bool, worse: float, policy: JudgePolicy, alpha: float
) -> tuple[Literal["pass", "unsure", "fail"], str]:
    if worse <= alpha:
        return "fail", "the candidate is worse"
    tally = claim.tally
    if tally.unjudged > policy.max_unjudged * (tally.judged + tally.unjudged):
        return "unsure", "too many pairs were not judged"
    if is_shown:
        return "pass", f"the candidate is not worse by {policy.margin * 100:.2f} points"
    return (
        "unsure",
        f"the candidate is not shown not to be worse by {policy.margin * 100:.2f} points",
    )


def _counts(judged: JudgedTexts, name: str, clusters: Mapping[str, str]) -> NDArray[np.int64]:
    """Return won, lost and judged by cluster, ``[C, 3]``."""
    rows = [
        (clusters.get(id, id), pair.verdict)
        for (id, indicator), pair in judged.pairs.items()
        if indicator == name
    ]
    kept = [(cluster, verdict) for cluster, verdict in rows if not isinstance(verdict, Unscored)]
    counts = np.array(
        [(verdict == "first", verdict == "second", 1) for _, verdict in kept], dtype=np.int64
    ).reshape(-1, 3)
    return cluster_tallies(counts, [cluster for cluster, _ in kept]) if kept else counts


def _sides(
    indicators: Sequence[Indicator], candidate: Predictions, champion: Predictions
) -> Iterator[tuple[Indicator, Outcome, Outcome]]:
    for indicator in indicators:
        if indicator.is_text:
            sides = (candidate.of(indicator.name), champion.of(indicator.name))
            yield from ((indicator, *pair) for pair in zip(*sides, strict=True))
