"""The gate: verdicts, limits, examples that must never break, and what was not tested."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from descant.release import Limits, run_gate
from descant.schema.errors import InvalidData
from tests.release.task import contestant, made_policy, made_task


def test_a_better_candidate_is_released(tmp_path: Path) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.95, 1), contestant(task, "theirs", 0.8, 2)
    result = run_gate(made_policy(tmp_path, task), task, ours, theirs)
    assert result.decision.verdict == "promote"
    assert result.is_released
    assert result.candidate.value is not None
    assert result.champion.value is not None
    assert result.candidate.value.low > result.champion.value.high
    assert set(result.candidate.by_indicator) == {"polite", "solved"}


def test_a_worse_one_is_rejected_and_its_regressions_are_named(tmp_path: Path) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.6, 1), contestant(task, "theirs", 0.95, 2)
    result = run_gate(made_policy(tmp_path, task), task, ours, theirs)
    assert result.decision.verdict == "reject"
    assert len(result.regressions) == 5
    assert len({each.transcript_id for each in result.regressions}) == 5
    for each in result.regressions:
        assert each.answer != each.expected


def test_equals_on_few_rows_are_held(tmp_path: Path) -> None:
    task = made_task(40)
    ours, theirs = contestant(task, "ours", 0.9, 1), contestant(task, "theirs", 0.9, 2)
    assert run_gate(made_policy(tmp_path, task), task, ours, theirs).decision.verdict == "hold"


@pytest.mark.parametrize(
    ("limits", "name", "outcome"),
    [
        (Limits(conversation_s=0.1), "latency", "fail"),
        (Limits(conversation_s=0.3), "latency", "pass"),
        (Limits(money_per_1000=0.001), "cost", "fail"),
        (Limits(unanswered_share=0.0), "unanswered", "pass"),
    ],
)
def test_limits_are_checks_like_others(
    tmp_path: Path, limits: Limits, name: str, outcome: str
) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.95, 1), contestant(task, "theirs", 0.8, 2)
    result = run_gate(made_policy(tmp_path, task, limits=limits), task, ours, theirs)
    [check] = [check for check in result.decision.checks if check.name == name]
    assert check.outcome == outcome
    assert result.is_released == (outcome == "pass")


def test_a_speed_that_was_not_measured_is_no_speed(tmp_path: Path) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.95, 1), contestant(task, "theirs", 0.8, 2)
    policy = made_policy(tmp_path, task, limits=Limits(conversation_s=1.0))
    result = run_gate(policy, task, replace(ours, conversation_s=None), theirs)
    assert result.decision.verdict == "hold"
    assert any("its speed was not measured" in each for each in result.not_tested)


def test_one_example_that_must_never_break_stops_a_release(tmp_path: Path) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.95, 1), contestant(task, "theirs", 0.8, 2)
    broken = next(o for o in ours.predictions.outcomes if o.answer.label != o.expected)
    policy = made_policy(tmp_path, task)
    path = tmp_path / "protected.jsonl"
    example = {"id": broken.transcript_id, "indicator": broken.indicator}
    path.write_text(json.dumps({**example, "expected": broken.expected}) + "\n")
    guarded = replace(policy, task=replace(policy.task, protected=path))
    result = run_gate(guarded, task, ours, theirs)
    assert result.decision.verdict == "reject"
    assert broken.transcript_id in result.decision.reasons[0]

    path.write_text(json.dumps(example) + "\n")
    with pytest.raises(InvalidData, match="line 1"):
        run_gate(guarded, task, ours, theirs)


def test_the_twin_is_json(tmp_path: Path) -> None:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.95, 1), contestant(task, "theirs", 0.8, 2)
    rival = contestant(task, "rival", 0.7, 3)
    result = run_gate(made_policy(tmp_path, task), task, ours, theirs, rival)
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert told["verdict"] == "promote"
    assert told["figures"]["rival"]["name"] == "rival"
    assert told["decision"]["split"]["only_one"] > told["decision"]["split"]["only_other"]
