"""``descant serve`` itself as the one that is judged: the same answers as in Python, of known adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from descant.evaluation import Task, run_task
from descant.llm import LLM
from descant.release import EndpointPlan, ask_endpoint
from descant.schema import LabelledTranscript, Scorecard, unanswered
from descant.schema.errors import EndpointUnusable
from tests.distillation.calls import transcripts
from tests.server.live import live, load, write_served
from tests.server.served import write_adapter

COUNT = 5


@pytest.fixture
def llm(tmp_path: Path) -> LLM:
    return load(write_served(tmp_path / "served"))


@pytest.fixture
def address(llm: LLM) -> Iterator[str]:
    with live(llm) as (url, _):
        yield f"{url}/v1"


def task_for(llm: LLM) -> Task:
    labels = {each.name: each.labels[0] for each in llm.indicators()}
    rows = [LabelledTranscript(each, dict(labels)) for each in transcripts(COUNT)]
    return Task("served", rows, llm.indicators())


def test_a_server_answers_as_the_python_api_does(llm: LLM, address: str, tmp_path: Path) -> None:
    task, plan = task_for(llm), EndpointPlan(address)
    said = ask_endpoint(plan, task, plan.answers_in(tmp_path))
    over_http, here = run_task(task, said), run_task(task, llm)
    assert len(over_http.outcomes) == COUNT * len(task.indicators)
    for ours, theirs in zip(over_http.outcomes, here.outcomes, strict=True):
        assert ours.answer.label == theirs.answer.label
        assert ours.answer.probabilities == pytest.approx(theirs.answer.probabilities, abs=1e-5)
        assert ours.answer.confidence == pytest.approx(theirs.answer.confidence, abs=1e-5)
    assert said.figures.requests == COUNT
    assert said.figures.read_tokens > 0
    assert "serving sha256:" in said.identity


def test_other_adapters_at_the_same_address_are_asked_anew(
    llm: LLM, address: str, tmp_path: Path
) -> None:
    task, plan = task_for(llm), EndpointPlan(address)
    path = plan.answers_in(tmp_path / "answers")
    first = ask_endpoint(plan, task, path)
    [polite] = [each for each in task.indicators if each.name == "polite"]
    write_adapter(tmp_path / "served" / "adapters" / "second", llm, 11, polite)
    llm.library.replace("polite", str(tmp_path / "served" / "adapters" / "second"))
    second = ask_endpoint(plan, task, path)
    assert second.identity != first.identity
    of_second = run_task(task, second).of("polite")
    shares = [each.answer.probabilities for each in run_task(task, llm).of("polite")]
    for outcome, expected in zip(of_second, shares, strict=True):
        assert outcome.answer.probabilities == pytest.approx(expected, abs=1e-5)


def test_adapters_that_change_while_they_are_asked_are_not_judged(
    llm: LLM, address: str, tmp_path: Path
) -> None:
    task, plan = task_for(llm), EndpointPlan(address, concurrency=1)
    [polite] = [each for each in task.indicators if each.name == "polite"]
    write_adapter(tmp_path / "served" / "adapters" / "second", llm, 11, polite)

    def change(done: int, total: int, spent: object) -> None:
        if done == 2:
            llm.library.replace("polite", str(tmp_path / "served" / "adapters" / "second"))

    with pytest.raises(EndpointUnusable, match="other adapters while it was asked"):
        ask_endpoint(plan, task, plan.answers_in(tmp_path / "answers"), change)


def test_what_one_scorecard_leaves_open_does_not_take_its_other_answers_away(
    llm: LLM, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, plan = task_for(llm), EndpointPlan(address)
    whole = llm.scorecard

    def partly(*given: object, **more: object) -> Scorecard:
        card = whole(*given, **more)  # type: ignore[arg-type]
        answers = tuple(
            unanswered("mood", "too long") if each.indicator == "mood" else each
            for each in card.answers
        )
        return replace(card, answers=answers)

    monkeypatch.setattr(llm, "scorecard", partly)
    found = run_task(task, ask_endpoint(plan, task, plan.answers_in(tmp_path)))
    assert {each.answer.unanswered for each in found.of("mood")} == {"too long"}
    assert all(each.answer.label for each in found.of("polite"))
