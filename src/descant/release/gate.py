"""One run of the gate: figures, checks, verdict, and everything the page says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from descant.data import data_hash, read_objects
from descant.evaluation import (
    MEASURES,
    Estimate,
    NoiseFloor,
    Pairing,
    ProtectedExample,
    ReleaseCheck,
    ReleaseDecision,
    ReleaseEvidence,
    Slice,
    SliceReport,
    Task,
    bootstrap_interval,
    decide_release,
    estimate_of,
    mean_over_indicators,
    slices_by_field,
    slices_by_length,
    slices_by_time,
    verdict_of,
    worst_slices,
)
from descant.release.contestant import Contestant
from descant.release.judged_texts import SUFFIX, JudgedTexts, judged_checks
from descant.release.policy import GatePolicy, SlicePlan
from descant.release.regressions import Regression, find_regressions
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidData

_SHOWN_REGRESSIONS = 5


@dataclass(frozen=True)
class Figure:
    """One contestant in the policy's measure, in the mean over the indicators."""

    contestant: Contestant
    value: Estimate | None
    by_indicator: dict[str, Estimate | None]


@dataclass(frozen=True)
class GateResult:
    """What a run of the gate found."""

    policy: GatePolicy
    decision: ReleaseDecision
    candidate: Figure
    champion: Figure
    rival: Figure | None
    slices: SliceReport | None
    """The candidate's worst."""
    regressions: tuple[Regression, ...]
    not_tested: tuple[str, ...]
    data_hash: str
    indicators: tuple[Indicator, ...]
    judged: JudgedTexts | None
    """What a judge said of texts; None where there is no judge, or there are no texts."""
    labels: int
    """Answers that were compared with a label."""

    @property
    def is_released(self) -> bool:
        """Whether the verdict is promote."""
        return self.decision.verdict == "promote"

    def without_texts(self) -> GateResult:
        """Return the same without what anybody said, for those who may not read it."""
        bare = tuple(replace(each, turns=()) for each in self.regressions)
        return replace(self, regressions=bare)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists; the twin of the page."""
        figures = {"candidate": self.candidate, "champion": self.champion, "rival": self.rival}
        return {
            "verdict": self.decision.verdict,
            "decision": self.decision.to_json(),
            "figures": {name: each and _figure_json(each) for name, each in figures.items()},
            "judge": self.judged and self.judged.to_json(self.indicators),
            "slices": self.slices and self.slices.to_json(),
            "regressions": [asdict(each) for each in self.regressions],
            "not_tested": list(self.not_tested),
            "data_hash": self.data_hash,
            "labels": self.labels,
            "task": {key: str(value) for key, value in asdict(self.policy.task).items()},
            "limits": asdict(self.policy.limits),
            "prices": asdict(self.policy.prices),
        }


def run_gate(
    policy: GatePolicy,
    task: Task,
    candidate: Contestant,
    champion: Contestant,
    rival: Contestant | None = None,
    noise: NoiseFloor | None = None,
    judged: JudgedTexts | None = None,
) -> GateResult:
    """Judge a candidate by a policy; all have answered the task, and `judged` is of their texts.

    Raises:
        InvalidData: they did not answer the same questions, or a protected example is malformed.
    """
    slices = tuple(_slices(task.rows, policy.slices))
    protected = read_protected(policy)
    evidence = ReleaseEvidence(slices, protected, noise, _clusters(task.rows, policy.slices))
    decision = decide_release(
        task.indicators, candidate.predictions, champion.predictions, policy.release, evidence
    )
    checks = (
        *_label_checks(task, decision),
        *_text_checks(task, judged, evidence, policy),
        *policy.limits.checks(candidate),
    )
    asked = {outcome.transcript_id for outcome in candidate.predictions.outcomes}
    decision = replace(
        decision, checks=checks, verdict=verdict_of(checks), conversations=len(asked)
    )
    worst = worst_slices(candidate.predictions, slices, min_support=policy.release.min_support)
    return GateResult(
        policy,
        decision,
        _figure(task, candidate, policy),
        _figure(task, champion, policy),
        None if rival is None else _figure(task, rival, policy),
        worst,
        find_regressions(
            task.rows, candidate.predictions, champion.predictions, _SHOWN_REGRESSIONS
        ),
        tuple(_not_tested(task, decision, evidence, worst, candidate)),
        data_hash(task.rows),
        tuple(task.indicators),
        judged,
        len(candidate.predictions.outcomes),
    )


def _label_checks(task: Task, decision: ReleaseDecision) -> tuple[ReleaseCheck, ...]:
    """Return what labels came to; without any there is nothing to be shown of them."""
    if any(not indicator.is_text for indicator in task.indicators):
        return decision.checks
    return tuple(check for check in decision.checks if check.name not in ("mean", "answered"))


def _text_checks(
    task: Task, judged: JudgedTexts | None, evidence: ReleaseEvidence, policy: GatePolicy
) -> list[ReleaseCheck]:
    """Return what texts came to; where nothing else is asked about and nobody judges, that is unsure."""
    if judged is not None:
        alpha = policy.release.alpha
        return judged_checks(judged, task.indicators, evidence.cluster_of, policy.judge, alpha)
    if all(indicator.is_text for indicator in task.indicators):
        return [ReleaseCheck("judge", "unsure", "judge: there is none, and all answers are texts.")]
    return []


def read_protected(policy: GatePolicy) -> tuple[ProtectedExample, ...]:
    """Return the examples that must never break.

    Raises:
        InvalidData: a line is not one; names file and line.
    """
    path = policy.task.protected
    if path is None:
        return ()
    examples = []
    for number, table in read_objects(path):
        if set(table) != {"id", "indicator", "expected"}:
            raise InvalidData(
                f"{path}, line {number}: must have id, indicator and expected.", field="protected"
            )
        examples.append(
            ProtectedExample(*(str(table[key]) for key in ("id", "indicator", "expected")))
        )
    return tuple(examples)


def _slices(rows: Sequence[LabelledTranscript], plan: SlicePlan) -> Iterator[Slice]:
    for field in plan.fields:
        yield from slices_by_field(rows, field)
    if plan.length_parts > 1:
        yield from slices_by_length(rows, plan.length_parts)
    if plan.time is not None:
        yield from slices_by_time(rows, plan.time)


def _clusters(rows: Sequence[LabelledTranscript], plan: SlicePlan) -> dict[str, str]:
    if plan.cluster is None:
        return {}
    return {
        row.transcript.id: row.fields[plan.cluster] for row in rows if plan.cluster in row.fields
    }


def _figure(task: Task, contestant: Contestant, policy: GatePolicy) -> Figure:
    pairing = Pairing.of(task.indicators, contestant.predictions, contestant.predictions)
    by_indicator = {
        each.name: _value(pairing.only(each.name), policy) for each in pairing.indicators
    }
    return Figure(contestant, _value(pairing, policy), by_indicator)


def _value(pairing: Pairing, policy: GatePolicy) -> Estimate | None:
    if not len(pairing):
        return None
    measure, settings = MEASURES[policy.release.measure], policy.release
    whole = float(pairing.values(measure)[0])
    found = bootstrap_interval(
        pairing.tallies,
        lambda tally: mean_over_indicators(tally, measure)[:, 0],
        seed=settings.seed,
        resamples=settings.resamples,
    )
    return estimate_of(whole, found)


def _not_tested(
    task: Task,
    decision: ReleaseDecision,
    evidence: ReleaseEvidence,
    worst: SliceReport | None,
    candidate: Contestant,
) -> Iterator[str]:
    yield from (check.reason for check in decision.checks if check.outcome == "untested")
    for indicator in task.indicators:
        if indicator.is_text and not any(
            c.name == indicator.name + SUFFIX for c in decision.checks
        ):
            yield f"{indicator.name}: texts are not compared."
    if worst is not None and worst.too_small:
        yield f"Too small to say anything of: {', '.join(worst.too_small)}."
    if not evidence.protected:
        yield "No examples were named that must never break."
    if evidence.noise is None:
        yield "The champion was not run twice: how much it differs from itself is not known."
    if candidate.conversation_s is None:
        yield "The candidate did not run here: its speed was not measured."
    if candidate.figures is not None:
        yield "The candidate was asked over the network: its time holds the way there and back."
    yield "Speed under load, and conversations unlike those of the task."


def _figure_json(figure: Figure) -> dict[str, Any]:
    contestant = figure.contestant
    return {
        "name": contestant.name,
        "identity": contestant.identity,
        "value": figure.value and asdict(figure.value),
        "by_indicator": {
            name: value and asdict(value) for name, value in figure.by_indicator.items()
        },
        "conversation_s": contestant.conversation_s,
        "money_per_1000": contestant.money_per_1000,
        "unanswered_share": contestant.unanswered_share,
        "endpoint": contestant.figures and contestant.figures.to_json(),
    }
