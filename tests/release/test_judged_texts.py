"""Texts in a release: won and lost in a judge's eyes, and a judge that may not decide decides nothing."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from descant.evaluation import JudgedPair, Outcome, Predictions, ReleaseCheck, Task
from descant.release import (
    Contestant,
    GatePolicy,
    GateResult,
    JudgedTexts,
    JudgeMeasurement,
    JudgePolicy,
    Provenance,
    identity_of,
    measure,
    refusal_of,
    render_page,
    run_gate,
    text_pairs,
)
from descant.release.judged_texts import judged_checks
from descant.schema import Answer, Indicator, LabelledTranscript, unanswered
from descant.schema.errors import InvalidConfig
from tests.release.judging import judge_at, labelled
from tests.release.task import contestant, made_policy, made_task

REASON = Indicator("reason", "Why did they call?", (), (), "text", "reason", max_tokens=8)
WON, LOST, TIED = (
    JudgedPair("first", "second"),
    JudgedPair("second", "first"),
    JudgedPair("tie", "tie"),
)
UNSURE, SILENT = JudgedPair("first", "first"), JudgedPair(None, "tie", "cut off")
JUDGE = JudgePolicy()


def measurement(count: int = 120, wrong: int = 0) -> JudgeMeasurement:
    pairs = labelled(count)
    right = {"first": WON, "second": LOST, "tie": TIED}
    judged = [right[each.label] for each in pairs]
    judged[:wrong] = [UNSURE if pair != TIED else WON for pair in judged[:wrong]]
    return measure(identity_of(judge_at("http://judge/v1"), pairs), pairs, judged)


def text_task(count: int, others: int = 0) -> Task:
    """So many calls with a text; with `others`, the made-up indicators too."""
    whole = made_task(count)
    rows = [
        replace(row, labels={**(row.labels if others else {}), "reason": "a refund"})
        for row in whole.rows
    ]
    return Task(whole.name, rows, (*(whole.indicators if others else ()), REASON))


def writer(task: Task, name: str, missing: int = 0) -> Contestant:
    answers = [
        Outcome(
            row.transcript.id,
            "reason",
            "a refund",
            unanswered("reason", "too long")
            if at < missing
            else Answer("reason", f"{name} {at}", {}, None, None),
        )
        for at, row in enumerate(task.rows)
    ]
    own = Task(task.name, task.rows, task.indicators[:-1]) if len(task.indicators) > 1 else None
    labels = contestant(own, name, 0.9, 1).predictions.outcomes if own else ()
    return Contestant(name, name, Predictions(task.name, (*labels, *answers)), 0.1)


def judged_gate(
    folder: Path, task: Task, said: list[JudgedPair], found: JudgeMeasurement | None = None
) -> GateResult:
    policy: GatePolicy = made_policy(folder, task)
    ours, theirs = writer(task, "ours"), writer(task, "theirs")
    keys = list(text_pairs(task, ours.predictions, theirs.predictions)[0])
    found = found or measurement()
    pairs = dict(zip(keys, said, strict=True))
    judged = JudgedTexts(found, refusal_of(found, policy.judge), pairs)
    return run_gate(policy, task, ours, theirs, None, None, judged)


def check_of(result: GateResult, name: str) -> ReleaseCheck:
    [check] = [check for check in result.decision.checks if check.name == name]
    return check


@pytest.mark.parametrize(
    ("said", "outcome", "verdict"),
    [
        ([WON] * 60 + [TIED] * 130 + [LOST] * 10, "pass", "promote"),
        ([TIED] * 200, "pass", "promote"),
        ([WON] * 10 + [TIED] * 110 + [LOST] * 80, "fail", "reject"),
        ([WON] * 90 + [TIED] * 10 + [LOST] * 100, "unsure", "hold"),
        ([WON] * 100 + [SILENT] * 100, "unsure", "hold"),
        ([SILENT] * 200, "unsure", "hold"),
    ],
)
def test_texts_alone_can_decide(
    tmp_path: Path, said: list[JudgedPair], outcome: str, verdict: str
) -> None:
    result = judged_gate(tmp_path, text_task(200), said)
    assert check_of(result, "reason (judged)").outcome == outcome
    assert result.decision.verdict == verdict
    assert result.decision.conversations == 200
    page = render_page(result, (REASON,), Provenance("2026-11-22", "0", "machine"))
    assert "reason (judged)" in page


def test_a_change_of_order_is_a_tie_that_is_counted(tmp_path: Path) -> None:
    result = judged_gate(tmp_path, text_task(200), [UNSURE] * 50 + [TIED] * 150)
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))["judge"]
    assert told["by_indicator"]["reason"] == {
        "wins": 0,
        "losses": 0,
        "ties": 200,
        "depends_on_order": 50,
        "unjudged": 0,
        "reasons": {},
    }
    assert "200 tied (50 by order)" in check_of(result, "reason (judged)").reason
    assert told["measurement"]["agreement"]["pairs"] == 120
    assert not any("texts are not compared" in each for each in result.not_tested)


def test_texts_beside_labels_are_one_claim_more(tmp_path: Path) -> None:
    task = text_task(300, others=1)
    fine = judged_gate(tmp_path / "fine", task, [TIED] * 300)
    poor = judged_gate(tmp_path / "poor", task, [LOST] * 100 + [TIED] * 200)
    assert {check.name for check in fine.decision.checks} >= {"mean", "polite", "reason (judged)"}
    assert check_of(fine, "judge").outcome == "pass"
    assert poor.decision.verdict == "reject"
    page = render_page(fine, tuple(task.indicators), Provenance("2026-11-22", "0", "machine"))
    assert "reason (judged)" in page


def test_agents_that_lose_together_count_as_one_loss(tmp_path: Path) -> None:
    task = text_task(200)
    said = [LOST if at % 5 == 0 else TIED for at in range(200)]
    ours, theirs = writer(task, "ours"), writer(task, "theirs")
    keys = list(text_pairs(task, ours.predictions, theirs.predictions)[0])
    judged = JudgedTexts(measurement(), None, dict(zip(keys, said, strict=True)))
    plain = made_policy(tmp_path / "plain", task)
    by_agent = replace(plain, slices=replace(plain.slices, cluster="agent"))
    alone, together = (
        check_of(run_gate(policy, task, ours, theirs, None, None, judged), "reason (judged)")
        for policy in (plain, by_agent)
    )
    assert alone.value == together.value == -0.2
    assert alone.outcome == "fail"
    assert together.outcome == "unsure"


def test_who_gives_no_text_has_lost(tmp_path: Path) -> None:
    task = text_task(40)
    ours, theirs = writer(task, "ours", missing=3), writer(task, "theirs", missing=1)
    pairs, decided = text_pairs(task, ours.predictions, theirs.predictions)
    assert len(pairs) == 37
    verdicts = [decided[row.transcript.id, "reason"].verdict for row in task.rows[:3]]
    assert verdicts == ["tie", "second", "second"]
    turned = text_pairs(task, theirs.predictions, ours.predictions)[1]
    assert turned[task.rows[2].transcript.id, "reason"].verdict == "first"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "was not measured"),
        (measurement(49), "measured on 49 pairs; 50 are asked for"),
        (measurement(120, wrong=60), "shown to be at least"),
    ],
)
def test_a_judge_that_may_not_decide_holds_every_release(
    tmp_path: Path, found: JudgeMeasurement | None, reason: str
) -> None:
    task = text_task(200, others=1)
    refusal = refusal_of(found, JUDGE)
    assert refusal is not None
    judged = JudgedTexts(found, refusal, {})
    policy = made_policy(tmp_path, task)
    result = run_gate(policy, task, writer(task, "a"), writer(task, "a"), None, None, judged)
    assert result.decision.verdict == "hold"
    assert reason in check_of(result, "judge").reason
    assert "reason: texts are not compared." in result.not_tested
    assert result.to_json()["judge"]["refusal"] == refusal


def test_a_judge_of_one_verdict_shows_nothing() -> None:
    pairs = tuple(each for each in labelled(300) if each.label == "tie")
    identity = identity_of(judge_at("http://judge/v1"), pairs)
    assert "kappa is not defined" in str(refusal_of(measure(identity, pairs, [TIED] * 100), JUDGE))


def test_texts_without_a_judge_are_never_released(tmp_path: Path) -> None:
    task = text_task(200)
    policy = made_policy(tmp_path, task)
    result = run_gate(policy, task, writer(task, "ours"), writer(task, "theirs"))
    assert result.decision.verdict == "hold"
    assert "there is none" in check_of(result, "judge").reason


def test_a_judge_needs_labelled_pairs(tmp_path: Path) -> None:
    for field in ("endpoint", "labels"):
        with pytest.raises(InvalidConfig) as caught:
            JudgePolicy(**{field: tmp_path})  # type: ignore[arg-type]
        assert caught.value.field == field


def test_a_candidate_that_loses_by_the_margin_seldom_passes(tmp_path: Path) -> None:
    """Of 400 releases that should be held, at most 5 % and what is left to chance (three errors)."""
    chance, passed, count = random.Random(0), 0, 400
    task = text_task(200)
    for _ in range(count):
        said = chance.choices((WON, LOST, TIED), (0.25, 0.25 + JUDGE.margin, 0.4), k=200)
        keys = [(row.transcript.id, "reason") for row in task.rows]
        judged = JudgedTexts(measurement(60), None, dict(zip(keys, said, strict=True)))
        _, check = judged_checks(judged, [REASON], {}, JUDGE, 0.05)
        passed += check.outcome == "pass"
    assert passed / count <= 0.05 + 3 * (0.05 * 0.95 / count) ** 0.5


def test_rows_stay_as_they_are() -> None:
    """The task's own rows are judged, in its own words."""
    task = text_task(2)
    ours, theirs = writer(task, "ours"), writer(task, "theirs")
    pairs, _ = text_pairs(task, ours.predictions, theirs.predictions)
    for row, found in zip(task.rows, pairs.values(), strict=True):
        assert isinstance(row, LabelledTranscript)
        assert (found.transcript, found.question) == (row.transcript, REASON.question)
        assert (found.expected, found.first[:4], found.second[:6]) == ("a refund", "ours", "theirs")
