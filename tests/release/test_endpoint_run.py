"""The same task over HTTP: every way to fail, within a budget, resumed, and nothing left out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descant.evaluation import Task
from descant.release import EndpointPlan, load_endpoint
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import (
    BudgetSpent,
    EndpointUnusable,
    InvalidConfig,
    TeacherRefused,
    TeacherUnavailable,
)
from tests.distillation.calls import transcript
from tests.distillation.teacher_server import (
    TeacherServer,
    half_closed,
    says,
    sends,
    teaching,
)
from tests.release.endpoints import asked, lines_in, outcomes, task_of

LATER = sends(429, "slow down", Retry_After="0.01")
FAULTS = (LATER, sends(503, "", Retry_After="0"), sends(500, "oh"), half_closed, sends(200, "{]"))
REASON = Indicator("reason", "Why did they call?", (), (), "text", "reason", max_tokens=8)


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with teaching(TeacherServer()) as teacher:
        yield teacher


def test_a_chat_model_answers_a_task_through_every_fault(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.then(*FAULTS)
    task = task_of(6)
    said = asked(server.address, task, tmp_path, price_in=Decimal(1), price_out=Decimal(2))
    found = {
        (each.transcript_id, each.indicator): each.answer.label for each in outcomes(task, said)
    }
    for at in range(6):
        polite = at % 2 == 0
        assert found[f"call-{at}", "polite"] == ("yes" if polite else "no")
        assert found[f"call-{at}", "mood"] == ("good" if polite else "bad")
    assert len(server.seen) == 12 + len(FAULTS)
    assert said.figures.requests == 12
    assert said.figures.money >= Decimal(12 * (20 + 3 * 2)) / 10**6
    assert said.figures.latency_s is not None
    assert said.figures.conversation_s is not None
    assert said.figures.conversation_s >= said.figures.latency_s


def test_every_reply_is_kept_with_its_prompt_output_tokens_time_and_cost(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.then(sends(500, "oh"))
    task = task_of(2)
    asked(server.address, task, tmp_path, price_in=Decimal(1), concurrency=1)
    closed = [line for line in lines_in(tmp_path) if "closed" in line]
    assert [line["status"] for line in closed] == [500, 200, 200, 200, 200]
    assert closed[0]["output"] == "oh"
    assert closed[1]["output"] == "yes"
    for line in closed:
        assert len(line["closed"]) == 64
        assert line["latency_s"] >= 0
    assert [line["read"] for line in closed] == [0, 20, 20, 20, 20]
    assert {line["money"] for line in closed[1:]} == {"0.000020"}


def test_what_is_answered_is_not_asked_again_and_gives_the_same_identity(
    server: TeacherServer, tmp_path: Path
) -> None:
    task = task_of(4)
    first, second = (asked(server.address, task, tmp_path) for _ in range(2))
    assert first == second
    assert len(server.seen) == 8
    server.answer = lambda body: "no"
    other = asked(server.address, task_of(5), tmp_path)
    assert len(server.seen) == 10
    assert other.identity != first.identity


def test_what_has_no_label_is_not_asked(server: TeacherServer, tmp_path: Path) -> None:
    whole = task_of(3)
    rows = [LabelledTranscript(row.transcript, {"polite": "yes"}) for row in whole.rows[:2]]
    rows.append(LabelledTranscript(whole.rows[2].transcript, {}))
    task = Task("calls", rows, whole.indicators)
    assert len(outcomes(task, asked(server.address, task, tmp_path))) == 2
    assert len(server.seen) == 2


def test_two_addresses_never_share_answers(server: TeacherServer, tmp_path: Path) -> None:
    task = task_of(2)
    asked(server.address, task, tmp_path)
    with teaching(TeacherServer(answer=lambda body: "no")) as other:
        said = asked(other.address, task, tmp_path)
    assert said.answers["call-0"]["polite"].label == "no"
    paths = list(tmp_path.glob("*.answers.jsonl"))
    assert len(paths) == 2


def test_what_stays_without_an_answer_is_an_outcome_with_its_reason(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.act = server.unless(
        lambda body: "number 1" in json.dumps(body), 400, '{"error": {"message": "no such talk"}}'
    )
    task = task_of(3)
    found = outcomes(task, asked(server.address, task, tmp_path))
    assert len(found) == 6
    missing = [each for each in found if each.answer.label is None]
    assert {each.transcript_id for each in missing} == {"call-1"}
    assert {each.answer.unanswered for each in missing} == {
        "No answer came: status 400: no such talk"
    }
    # Refused is not kept: the next run asks again.
    server.act = None
    assert all(each.answer.label for each in outcomes(task, asked(server.address, task, tmp_path)))


def test_an_answer_that_is_no_label_is_unanswered(server: TeacherServer, tmp_path: Path) -> None:
    server.then(says("perhaps"))
    task = task_of(1)
    said = asked(server.address, task, tmp_path, concurrency=1)
    assert said.answers["call-0"]["polite"].label is None
    assert "'perhaps' is not one of the labels" in str(said.answers["call-0"]["polite"].unanswered)
    assert said.answers["call-0"]["mood"].label == "good"


def test_texts_are_asked_without_labels_and_read_as_one_line(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.answer = lambda body: " wants\n money back "
    rows = [LabelledTranscript(transcript(at), {"reason": "a refund"}) for at in range(2)]
    task = Task("calls", rows, (REASON,))
    said = asked(server.address, task, tmp_path)
    assert said.answers["call-1"]["reason"].label == "wants money back"
    assert said.answers["call-1"]["reason"].probabilities == {}
    for seen in server.seen:
        assert not {"response_format", "structured_outputs"} & seen.body.keys()
        assert "Labels" not in seen.body["messages"][-1]["content"]


def test_a_text_leaves_open_how_labels_are_asked_for(server: TeacherServer, tmp_path: Path) -> None:
    whole = task_of(1)
    row = LabelledTranscript(transcript(0), {"reason": "a refund", "polite": "yes"})
    task = Task("calls", [row], (REASON, whole.indicators[0]))
    asked(server.address, task, tmp_path, concurrency=1)
    assert "response_format" not in server.seen[0].body
    assert "response_format" in server.seen[1].body


def test_a_spent_budget_judges_nothing_and_goes_on_later(
    server: TeacherServer, tmp_path: Path
) -> None:
    task = task_of(8)
    with pytest.raises(BudgetSpent, match="#big: The budget has no room"):
        asked(server.address, task, tmp_path, budget_tokens=1300, concurrency=1)
    before = len(server.seen)
    assert 0 < before < 16
    asked(server.address, task, tmp_path)
    assert len(server.seen) == 16


@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_faults_and_budgets_in_any_order_end_in_the_answers_of_a_calm_day(
    server: TeacherServer, data: st.DataObject
) -> None:
    """The slow twin is a run without faults and limits."""
    task = task_of(4)
    with tempfile.TemporaryDirectory() as folder:
        calm = outcomes(task, asked(server.address, task, Path(folder) / "calm"))
        budgets = data.draw(st.lists(st.integers(0, 5000), max_size=3))
        for tokens in sorted(budgets):
            server.then(*data.draw(st.lists(st.sampled_from(FAULTS), max_size=5)))
            place = Path(folder) / "rough"
            try:
                said = asked(server.address, task, place, budget_tokens=tokens, concurrency=3)
            except BudgetSpent:
                pass
            else:
                assert all(e.answer.label or e.answer.unanswered for e in outcomes(task, said))
            spent = sum(
                line["read"] + line["written"] for line in lines_in(place) if "closed" in line
            )
            assert spent <= tokens
        server.then()
        assert outcomes(task, asked(server.address, task, Path(folder) / "rough")) == calm


def test_who_refuses_the_key_ends_the_run(
    server: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidConfig, match="DESCANT_TEST_KEY"):
        asked(server.address, task_of(1), tmp_path, key_env="DESCANT_TEST_KEY")
    assert server.seen == []
    monkeypatch.setenv("DESCANT_TEST_KEY", "s3cret")
    server.act = sends(401, "wrong key s3cret")
    with pytest.raises(TeacherRefused, match="status 401: wrong key …"):
        asked(server.address, task_of(1), tmp_path, key_env="DESCANT_TEST_KEY")
    assert server.seen[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in json.dumps(lines_in(tmp_path))


def test_without_a_model_it_has_to_be_a_descant_server(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.act = sends(200, json.dumps({"object": "list", "data": [{"id": "gpt"}]}))
    with pytest.raises(EndpointUnusable, match="does not say which adapters"):
        asked(server.address, task_of(1), tmp_path, model=None)
    server.act = sends(503)
    with pytest.raises(TeacherUnavailable, match="status 503"):
        asked(server.address, task_of(1), tmp_path, model=None)


def test_an_endpoint_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TeacherUnavailable, match="no connection"):
        asked("http://127.0.0.1:9/v1", task_of(1), tmp_path, model=None)


def test_a_file_says_all_of_an_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "rival.toml"
    path.write_text('url = "http://h/v1"\nmodel = "m"\nprice_in = 0.15\nbudget_money = 5\n')
    plan = load_endpoint(path)
    assert plan == EndpointPlan(
        "http://h/v1", "m", price_in=Decimal("0.15"), budget_money=Decimal(5)
    )
    path.write_text(
        'url = "http://h/v1"\nsoft = true\nprice_in = -1\nmodle = "m"\nconcurrency = 0\n'
    )
    with pytest.raises(InvalidConfig) as caught:
        load_endpoint(path)
    for told in ("price_in", "modle", "model", "concurrency"):
        assert told in str(caught.value)
