"""A teacher that works and one that fails in every way, over real connections."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.distillation import AnswerStore, ChatConfig, ChatTeacher, Cost, Limits, Prices, Verdict
from descant.schema.errors import (
    BudgetSpent,
    InvalidConfig,
    StorageFull,
    TeacherRefused,
    TeacherUnavailable,
)
from tests.distillation.asking import label
from tests.distillation.calls import MOOD, POLITE, transcript, transcripts
from tests.distillation.teacher_server import (
    Act,
    Body,
    Send,
    TeacherServer,
    completion,
    half_closed,
    reply,
    says,
    sends,
    teaching,
)

USAGE = Cost(20, 3)
"""What the server says that each answer took."""
PRICES = Prices(Decimal("0.5"), Decimal("2"))


@pytest.fixture(scope="module")
def running() -> Iterator[TeacherServer]:
    with teaching(TeacherServer()) as server:
        yield server


@pytest.fixture
def server(running: TeacherServer) -> TeacherServer:
    fresh = TeacherServer(address=running.address)
    vars(running).update(vars(fresh))
    return running


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


# A teacher that works


def test_a_renamed_indicator_keeps_its_answers(server: TeacherServer, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    first = label(server.address, answers, transcripts(3))
    renamed = replace(POLITE, name="courteous", adapter="courteous")
    second = label(server.address, answers, transcripts(3), [renamed])
    assert second.labels == first.labels == ["yes", "no", "yes"]
    assert len(server.seen) == 3


def test_every_indicator_of_every_conversation_gets_its_label(
    server: TeacherServer, answers: Path
) -> None:
    run = label(server.address, answers, transcripts(6), [POLITE, MOOD])
    assert run.asked.stopped is None
    assert not run.asked.given_up
    expected = [
        {"polite": Verdict(polite), "mood": Verdict(mood)}
        for polite, mood in [("yes", "good"), ("no", "bad")] * 3
    ]
    assert run.verdicts == expected
    assert run.spent == Cost(12 * 20, 12 * 3)
    assert {seen.path for seen in server.seen} == {"/v1/chat/completions"}
    assert {seen.body["model"] for seen in server.seen} == {"big"}


def test_so_many_requests_are_under_way_and_no_more(server: TeacherServer, answers: Path) -> None:
    server.act = server.slowly(0.05)
    label(server.address, answers, transcripts(12), concurrency=3)
    assert server.most_at_once == 3


def test_what_was_answered_is_not_asked_again(server: TeacherServer, answers: Path) -> None:
    label(server.address, answers, transcripts(3))
    renamed = [replace(call, id=f"again-{call.id}") for call in transcripts(5)]
    run = label(server.address, answers, renamed)
    assert run.labels == ["yes", "no", "yes", "no", "yes"]
    assert set(server.times_asked().values()) == {1}
    assert run.spent == Cost(5 * 20, 5 * 3)
    # Nothing is left to ask, and so no teacher is needed.
    assert label("http://127.0.0.1:9/v1", answers, renamed).labels == run.labels


def test_equal_conversations_are_asked_about_once(server: TeacherServer, answers: Path) -> None:
    twins = [replace(transcript(0), id=str(at)) for at in range(5)]
    assert label(server.address, answers, twins).labels == ["yes"] * 5
    assert len(server.seen) == 1


def test_votes_are_counted_and_agreement_is_the_weight(
    server: TeacherServer, answers: Path
) -> None:
    said = {0: "yes", 1: "no", 2: "yes", 3: "what?"}
    server.answer = lambda body: said[body["seed"]]
    teacher = ChatTeacher(ChatConfig("big", votes=4, temperature=1.0))
    run = label(server.address, answers, transcripts(2), teacher=teacher)
    assert run.verdicts == [{"polite": Verdict("yes", weight=0.5)}] * 2
    assert len(server.seen) == 8


def test_an_answer_that_is_no_label_is_kept_as_unanswered(
    server: TeacherServer, answers: Path
) -> None:
    server.then(says("It depends."))
    for _ in range(2):
        run = label(server.address, answers, transcripts(1))
        [verdict] = run.verdicts
        reason = "The answer 'It depends.' is not one of the labels."
        assert verdict == {"polite": Verdict(None, unanswered=reason)}
    assert len(server.seen) == 1


# Too many requests


def test_no_request_is_sent_inside_the_window(server: TeacherServer, answers: Path) -> None:
    server.then(sends(429, retry_after_ms="300", retry_after="9"), server.well)
    started = time.monotonic()
    assert label(server.address, answers, transcripts(4), concurrency=1).labels[0] == "yes"
    first, second = (seen.arrived_s for seen in server.seen[:2])
    assert second - first >= 0.3
    assert time.monotonic() - started < 5
    assert len(server.seen) == 5


def test_each_of_those_under_way_meets_the_window_once(
    server: TeacherServer, answers: Path
) -> None:
    opens_s = time.monotonic() + 0.4

    async def closed(body: Body, send: Send) -> None:
        left_s = opens_s - time.monotonic()
        if left_s <= 0:
            await server.well(body, send)
        else:
            # Those told later are told a shorter time; the latest deadline is the same for all.
            await reply(send, 503, "", {"retry-after-ms": str(left_s * 1000)})

    server.act = closed
    run = label(server.address, answers, transcripts(12), concurrency=4)
    assert run.labels == ["yes", "no"] * 6
    early = [seen for seen in server.seen if seen.arrived_s < opens_s]
    assert 1 <= len(early) <= 4


def test_a_shorter_window_does_not_shorten_a_longer_one(
    server: TeacherServer, answers: Path
) -> None:
    server.then(sends(429, retry_after_ms="400"), sends(429, retry_after_ms="1"))
    label(server.address, answers, transcripts(4), concurrency=2)
    told = server.seen[0].arrived_s
    assert all(seen.arrived_s - told >= 0.4 for seen in server.seen[2:])


def test_without_a_window_it_is_asked_ever_more_slowly(
    server: TeacherServer, answers: Path
) -> None:
    server.then(*[sends(429)] * 6)
    assert label(server.address, answers, transcripts(1)).labels == ["yes"]
    assert len(server.seen) == 7


def test_a_window_that_is_too_long_ends_the_run(server: TeacherServer, answers: Path) -> None:
    server.then(server.well, sends(429, '{"error": {"message": "Quota"}}', retry_after="3600"))
    run = label(server.address, answers, transcripts(8), concurrency=1)
    assert isinstance(run.asked.stopped, TeacherUnavailable)
    assert "3,600 s more: status 429: Quota" in str(run.asked.stopped)
    assert run.labels == ["yes", *[None] * 7]
    assert len(server.seen) == 2


# Faults that pass


@pytest.mark.parametrize(
    ("fault", "is_paid"),
    [
        (sends(500, "oops"), False),
        (sends(501), False),
        (sends(502), True),
        (sends(408), True),
        (half_closed, True),
        (sends(200, "<html>"), True),
        (sends(200, ""), True),
        (sends(200, "{}"), True),
        (sends(200, "x" * (5 << 20)), True),
    ],
)
def test_a_fault_is_tried_again_and_paid_for_where_it_may_have_cost_something(
    server: TeacherServer, answers: Path, fault: Act, is_paid: bool
) -> None:
    server.then(fault, fault)
    run = label(server.address, answers, transcripts(1))
    assert run.labels == ["yes"]
    assert len(server.seen) == 3
    most = Cost(len(json.dumps(server.seen[0].body)), 64)
    if is_paid:
        assert run.spent.read_tokens > 2 * 0.8 * most.read_tokens
        assert run.spent.written_tokens == 2 * 64 + 3
    else:
        assert run.spent == USAGE


def test_a_reply_that_takes_too_long_is_not_waited_for(
    server: TeacherServer, answers: Path
) -> None:
    server.then(server.slowly(30), server.slowly(30))
    started = time.monotonic()
    run = label(server.address, answers, transcripts(1), timeout_s=0.2)
    assert run.labels == ["yes"]
    assert time.monotonic() - started < 10
    assert run.spent.written_tokens == 2 * 64 + 3


def test_a_teacher_that_goes_on_failing_is_asked_again_by_the_next_run(
    server: TeacherServer, answers: Path
) -> None:
    server.then(*[sends(500, "down")] * 3)
    run = label(server.address, answers, transcripts(3), concurrency=1)
    assert run.labels == [None, "no", "yes"]
    assert run.verdicts[0] == {"polite": None}
    assert run.asked.given_up == {"status 500: down": 1}
    assert run.asked.stopped is None
    assert label(server.address, answers, transcripts(3)).labels == ["yes", "no", "yes"]
    assert len(server.seen) == 3 + 2 + 1


def test_nonsense_without_an_end_is_kept_as_unanswered(
    server: TeacherServer, answers: Path
) -> None:
    server.then(*[sends(200, "<html>")] * 3)
    for _ in range(2):
        run = label(server.address, answers, transcripts(1))
        reason = "The reply is no answer: it is no chat completion."
        assert run.verdicts == [{"polite": Verdict(None, unanswered=reason)}]
    assert len(server.seen) == 3


def test_a_reply_without_believable_usage_counts_with_the_most(
    server: TeacherServer, answers: Path
) -> None:
    async def act(body: Body, send: Send) -> None:
        table = completion(body, "yes") | {"usage": {"prompt_tokens": -1, "completion_tokens": 3}}
        await reply(send, 200, json.dumps(table))

    server.act = act
    run = label(server.address, answers, transcripts(1))
    assert run.spent.written_tokens == 64
    assert run.spent.read_tokens > 300


# What a teacher does not take


@pytest.mark.parametrize(
    ("refused", "taken"),
    [
        ((), "response_format"),
        (("response_format",), "structured_outputs"),
        (("response_format", "structured_outputs"), None),
        (("max_tokens",), "response_format"),
        (("max_tokens", "response_format", "structured_outputs"), None),
    ],
)
def test_a_server_that_takes_less_is_asked_for_less(
    server: TeacherServer, answers: Path, refused: tuple[str, ...], taken: str | None
) -> None:
    def is_refused(body: Body) -> bool:
        return any(name in body for name in refused)

    server.act = server.unless(is_refused, 400, '{"error": {"message": "unknown field"}}')
    run = label(server.address, answers, transcripts(10), concurrency=2)
    assert run.labels == ["yes", "no"] * 5
    forms = {"response_format", "structured_outputs"}
    bodies = [seen.body for seen in server.seen if not is_refused(seen.body)]
    assert [forms & body.keys() for body in bodies] == [{taken} if taken else set()] * 10
    # Each of those first under way finds out for itself, and none later does.
    assert len(server.seen) - 10 <= 2 * 5
    # What was found out is no part of an answer's key.
    server.act = sends(500)
    assert label(server.address, answers, transcripts(10)).labels == run.labels


def test_one_conversation_that_is_refused_holds_up_no_other(
    server: TeacherServer, answers: Path
) -> None:
    text = '{"error": {"message": "too long"}}'
    server.act = server.unless(lambda body: "number 3" in str(body["messages"]), 400, text)
    run = label(server.address, answers, transcripts(5), concurrency=1)
    assert run.labels == ["yes", "no", "yes", None, "yes"]
    assert run.asked.given_up == {"status 400: too long": 1}
    # The others were asked before and after in the same form.
    assert all("response_format" in seen.body for seen in server.seen)
    assert run.spent == Cost(4 * 20, 4 * 3)


@pytest.mark.parametrize("status", [301, 401, 402, 403, 404])
def test_what_no_request_can_mend_ends_the_run(
    server: TeacherServer, answers: Path, status: int
) -> None:
    server.act = sends(status, '{"error": {"message": "No such model"}}')
    run = label(server.address, answers, transcripts(50), concurrency=2)
    assert isinstance(run.asked.stopped, TeacherRefused)
    assert f"status {status}: No such model" in str(run.asked.stopped)
    assert len(server.seen) <= 2
    assert run.spent == Cost()


def test_a_key_is_sent_and_never_shown(server: TeacherServer, answers: Path) -> None:
    key = "sk-very-secret"
    server.then(sends(500, f"bad {key}"), sends(401, f'{{"error": "Key {key} is wrong"}}'))
    run = label(server.address, answers, transcripts(1), key=key)
    assert server.seen[0].headers["authorization"] == f"Bearer {key}"
    assert "Key … is wrong" in str(run.asked.stopped)
    assert key not in repr(run)
    assert key not in answers.read_text()


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://host/v1", "http://", "http://u:hidden@h/v1", "http://h/?k=hidden"],
)
def test_an_address_is_http_and_carries_no_secret(url: str, answers: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        label(url, answers, transcripts(1))
    assert caught.value.field == "teacher"
    assert "hidden" not in str(caught.value)


def test_nobody_there_is_said_and_costs_nothing(answers: Path) -> None:
    run = label("http://127.0.0.1:9/v1", answers, transcripts(50), in_a_row=6)
    assert isinstance(run.asked.stopped, TeacherUnavailable)
    assert (
        "6 requests in a row had no answer; the last: no connection to http://127.0.0.1:9"
        in str(run.asked.stopped)
    )
    assert run.spent == Cost()
    assert run.asked.given_up.total() < 6 + 4


def test_a_teacher_that_never_makes_sense_is_not_asked_everything(
    server: TeacherServer, answers: Path
) -> None:
    server.act = says("As a language model")
    run = label(server.address, answers, transcripts(100), in_a_row=10)
    assert isinstance(run.asked.stopped, TeacherUnavailable)
    assert len(server.seen) < 10 + 4


# Budget


def test_a_spent_budget_keeps_what_was_answered_and_a_larger_one_goes_on(
    server: TeacherServer, answers: Path
) -> None:
    run = label(server.address, answers, transcripts(40), limits=Limits(tokens=1500), concurrency=8)
    assert isinstance(run.asked.stopped, BudgetSpent)
    assert "of 1,500 tokens are spent" in str(run.asked.stopped)
    answered = 40 - run.labels.count(None)
    assert 10 < answered < 40
    assert run.spent == Cost(answered * 20, answered * 3)
    assert len(server.seen) == answered
    # No room for more is no room in the next run either.
    again = label(server.address, answers, transcripts(40), limits=Limits(tokens=1500))
    assert again.spent == run.spent
    assert len(server.seen) == answered
    whole = label(server.address, answers, transcripts(40), limits=Limits(tokens=5000))
    assert None not in whole.labels
    assert len(server.seen) == 40


def test_money_is_a_budget_too(server: TeacherServer, answers: Path) -> None:
    limits = Limits(money=Decimal("0.001"))
    run = label(server.address, answers, transcripts(60), limits=limits, prices=PRICES)
    assert isinstance(run.asked.stopped, BudgetSpent)
    answered = 60 - run.labels.count(None)
    assert answered > 5
    assert run.spent.money == answered * PRICES.cost(20, 3).money
    assert run.spent.money <= Decimal("0.001")


def test_a_teacher_whose_claims_are_impossible_is_left(
    server: TeacherServer, answers: Path
) -> None:
    async def act(body: Body, send: Send) -> None:
        usage = {"prompt_tokens": 10**9, "completion_tokens": 3}
        await reply(send, 200, json.dumps(completion(body, "yes") | {"usage": usage}))

    server.act = act
    limits = Limits(tokens=10_000)
    run = label(server.address, answers, transcripts(30), limits=limits, concurrency=3)
    assert "1,000,000,003 tokens, more than it can have taken" in str(run.asked.stopped)
    assert run.spent.tokens <= 10_000
    assert len(server.seen) <= 3
    # Its answers are paid for, and so are kept.
    assert run.labels.count("yes") == len(server.seen)


def test_a_full_disk_ends_the_run_before_more_is_paid(
    server: TeacherServer, answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    original = AnswerStore._append

    def append(self: AnswerStore, line: dict[str, object]) -> None:
        if next(calls) >= 6:
            raise StorageFull("The disk is full.")
        original(self, line)

    monkeypatch.setattr(AnswerStore, "_append", append)
    run = label(server.address, answers, transcripts(9), concurrency=1)
    assert isinstance(run.asked.stopped, StorageFull)
    assert len(server.seen) == 3
    monkeypatch.undo()
    assert label(server.address, answers, transcripts(9)).spent == Cost(9 * 20, 9 * 3)


# Anything


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_whatever_happens_answers_are_right_and_the_budget_holds(
    running: TeacherServer, data: st.DataObject
) -> None:
    vars(running).update(vars(TeacherServer(address=running.address)))
    acts = [
        running.well,
        sends(500),
        half_closed,
        sends(200, "[]"),
        sends(429, retry_after_ms="5"),
        sends(503, retry_after="0"),
        sends(400, "no"),
        says("whatever"),
        says("yes"),
    ]
    running.script = iter(data.draw(st.lists(st.sampled_from(acts), max_size=25)))
    budgets = data.draw(st.lists(st.integers(0, 4000), min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        for tokens in [*budgets, *[10**6] * 3]:
            before = len(running.seen)
            run = label(running.address, answers, transcripts(6), limits=Limits(tokens=tokens))
            if len(running.seen) > before:
                assert run.spent.tokens <= tokens
        # By then the script has ended, and everything has been answered in some way.
        for at, verdict in enumerate(each["polite"] for each in run.verdicts):
            assert verdict is not None
            if verdict.label is None:
                assert verdict.unanswered
            else:
                assert verdict.label in (("yes",) if at % 2 == 0 else ("no", "yes"))
        with AnswerStore(answers) as store:
            assert store.spent == run.spent
