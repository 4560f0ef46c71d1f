"""Which stage settles what, what it is asked, and what comes of failures and late answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.gateway import Call
from descant.gateway.cascade import (
    Cascade,
    CascadeAnswer,
    CascadeConfig,
    ModelThresholds,
    Thresholds,
    UnitThresholds,
)
from descant.schema.errors import (
    ClientGone,
    ContextTooLong,
    DeadlineExceeded,
    InputError,
    UpstreamFailed,
)
from tests.gateway.cascade.scripted import (
    NOW_S,
    Models,
    Stage,
    call,
    chat,
    completion,
    scorecard,
    stage,
    unanswered,
)

SURE = stage("small", "confidence", min_confidence=0.9)
LARGE = stage("large")


def frozen_clock() -> float:
    return NOW_S


def cascade(
    *stages: Stage,
    human: bool = False,
    thresholds: Thresholds | None = None,
    clock: Callable[[], float] = frozen_clock,
) -> Cascade:
    config = CascadeConfig(dict(stages))
    if human:
        config = CascadeConfig(dict(stages), unsettled="human", review_file=Path("queue.jsonl"))
    return Cascade(config, thresholds or Thresholds(), clock)


def run(one: Cascade, asked: Call, models: Models) -> CascadeAnswer:
    return asyncio.run(one.run(asked, models))


def labels(answer: CascadeAnswer) -> dict[str, Any]:
    return {each["indicator"]: each["label"] for each in answer.body["answers"]}


def test_a_sure_answer_ends_the_cascade() -> None:
    models = Models({"small": chat("yes", 0.95), "large": chat("no")})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[]), models)
    assert answer.body["choices"][0]["message"]["content"] == "yes"
    assert models.models == ["small"]
    assert answer.answered_by == {"answer": "small"}
    assert (answer.cost_nano, answer.usage.total_tokens) == (1000, 12)
    assert "needs_review" not in answer.body


def test_an_unsure_answer_goes_on_and_costs_both() -> None:
    models = Models({"small": chat("yes", 0.8), "large": chat("no")})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[]), models)
    assert answer.body["choices"][0]["message"]["content"] == "no"
    assert answer.answered_by == {"answer": "large"}
    assert [step.refused for step in answer.steps] == [{"answer": "unsure"}, {}]
    assert (answer.cost_nano, answer.usage.prompt_tokens) == (3000, 20)


def test_only_unsettled_indicators_are_asked_again_and_all_are_merged_in_order() -> None:
    small = scorecard({"a": ("yes", 0.99), "b": ("no", 0.5), "c": ("no", 0.95)})
    models = Models({"small": small, "large": scorecard({"b": ("yes", 0.6)}, tokens_read=30)})
    asked = call("scores", conversation={"turns": []}, indicators=["a", "b", "c"])
    answer = run(cascade(SURE, LARGE), asked, models)
    assert labels(answer) == {"a": "yes", "b": "yes", "c": "no"}
    assert list(labels(answer)) == ["a", "b", "c"]
    assert answer.answered_by == {"a": "small", "b": "large", "c": "small"}
    assert models.asked[0][1].body["indicators"] == ["a", "b", "c"]
    assert models.asked[1][1].body["indicators"] == ["b"]
    assert b'"indicators":["b"]' in models.asked[1][1].raw
    assert answer.body["usage"] == {"tokens_read": 40, "tokens_shared": 2, "time_s": 1.0}


def test_a_request_for_all_indicators_learns_from_the_first_answer_which_there_are() -> None:
    small = scorecard({"a": ("yes", 0.99), "b": ("no", 0.5)})
    models = Models({"small": small, "large": scorecard({"b": ("yes", 0.6)})})
    answer = run(cascade(SURE, LARGE), call("scores", conversation={}), models)
    assert "indicators" not in models.asked[0][1].body
    assert models.asked[1][1].body["indicators"] == ["b"]
    assert labels(answer) == {"a": "yes", "b": "yes"}


def test_a_first_stage_that_fails_leaves_all_indicators_to_the_next() -> None:
    models = Models({"small": ContextTooLong("long"), "large": scorecard({"a": ("yes", 0.4)})})
    answer = run(cascade(SURE, LARGE), call("scores", conversation={}), models)
    assert "indicators" not in models.asked[1][1].body
    assert labels(answer) == {"a": "yes"}
    assert [step.error for step in answer.steps] == ["context_too_long", None]


def test_unanswered_indicators_go_on_and_those_left_say_why_they_have_none() -> None:
    small = unanswered(scorecard({"a": ("yes", 0.99), "b": ("", 0.0), "c": ("", 0.0)}), "b", "c")
    large = unanswered(scorecard({"b": ("no", 0.7), "c": ("", 0.0)}), "c")
    models = Models({"small": small, "large": large})
    answer = run(cascade(SURE, LARGE), call("scores", indicators=["a", "b", "c", "d"]), models)
    assert labels(answer) == {"a": "yes", "b": "no", "c": None, "d": None}
    assert answer.steps[1].refused == {"c": "unanswered", "d": "unanswered"}
    by_name = {each["indicator"]: each for each in answer.body["answers"]}
    assert by_name["c"]["unanswered"] == "context_too_long"
    assert by_name["d"]["unanswered"] == "No model of the cascade was sure enough."
    assert by_name["d"].keys() == by_name["a"].keys()


def test_when_the_last_stage_fails_what_is_settled_is_given_and_the_rest_says_so() -> None:
    small = scorecard({"a": ("yes", 0.99), "b": ("no", 0.5)})
    models = Models({"small": small, "large": UpstreamFailed("down")})
    answer = run(cascade(SURE, LARGE), call("scores", conversation={}), models)
    assert labels(answer) == {"a": "yes", "b": None}
    assert "upstream_failed" in answer.body["answers"][1]["unanswered"]


def test_nothing_settled_and_a_failure_at_last_is_that_failure() -> None:
    models = Models({"small": scorecard({"a": ("yes", 0.5)}), "large": UpstreamFailed("down")})
    with pytest.raises(UpstreamFailed, match="down"):
        run(cascade(SURE, LARGE), call("scores", conversation={}), models)


def test_a_distrusted_text_is_never_given_as_if_it_were_trusted() -> None:
    last = stage("large", "confidence", min_confidence=0.9)
    models = Models({"small": UpstreamFailed("down"), "large": chat("no", 0.5)})
    with pytest.raises(UpstreamFailed, match="sure"):
        run(cascade(SURE, last), call("chat", messages=[]), models)


def test_people_look_at_what_nobody_was_sure_of_and_the_answer_says_so() -> None:
    last = stage("large", "confidence", min_confidence=0.9)
    small = scorecard({"a": ("yes", 0.99), "b": ("no", 0.5)})
    models = Models({"small": small, "large": scorecard({"b": ("maybe", 0.6)})})
    answer = run(cascade(SURE, last, human=True), call("scores", conversation={}), models)
    assert answer.needs_review == ("b",)
    assert labels(answer) == {"a": "yes", "b": "maybe"}
    assert [each.get("needs_review") for each in answer.body["answers"]] == [None, True]
    assert answer.answered_by == {"a": "small"}


def test_people_look_at_indicators_that_nobody_answered_too() -> None:
    small = scorecard({"a": ("yes", 0.99), "b": ("no", 0.5)})
    models = Models({"small": small, "large": UpstreamFailed("down")})
    asked = call("scores", conversation={}, indicators=["a", "b", "c"])
    answer = run(cascade(SURE, LARGE, human=True), asked, models)
    assert answer.needs_review == ("b", "c")
    assert labels(answer) == {"a": "yes", "b": "no", "c": None}
    assert "upstream_failed" in answer.body["answers"][2]["unanswered"]
    assert [each.get("needs_review") for each in answer.body["answers"]] == [None, True, True]


def test_people_are_not_asked_where_no_model_said_anything() -> None:
    models = Models({"small": ContextTooLong("long"), "large": UpstreamFailed("down")})
    with pytest.raises(UpstreamFailed, match="down"):
        run(cascade(SURE, LARGE, human=True), call("scores", indicators=["a"]), models)


def test_people_get_the_last_answer_there_is_when_later_models_fail() -> None:
    models = Models({"small": chat("hm", 0.5), "large": UpstreamFailed("down")})
    answer = run(cascade(SURE, LARGE, human=True), call("chat", messages=[]), models)
    assert answer.body["choices"][0]["message"]["content"] == "hm"
    assert answer.body["needs_review"] is True
    assert answer.needs_review == ("answer",)


def test_chat_is_asked_for_logprobs_and_they_are_taken_out_again() -> None:
    models = Models({"small": chat("yes", 0.95)})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[], stream=True), models)
    asked = models.asked[0][1]
    assert asked.body == {"messages": [], "model": "small", "logprobs": True}
    assert not asked.is_stream
    assert answer.body["choices"][0]["logprobs"] is None


def test_a_caller_who_asked_for_logprobs_keeps_them() -> None:
    models = Models({"small": chat("yes", 0.95)})
    asked = call("chat", messages=[], logprobs=True, top_logprobs=2)
    answer = run(cascade(SURE, LARGE), asked, models)
    assert models.asked[0][1].body["top_logprobs"] == 2
    assert answer.body["choices"][0]["logprobs"] is not None


def test_completions_go_by_the_mean_of_their_tokens() -> None:
    # exp of the mean of log 0.99 twice and log 0.5 is 0.788; an echoed prompt's first token has none.
    small = completion("yes", [None, -0.01005, -0.01005, -0.69315])
    models = Models({"small": small, "large": completion("no", [-3.0])})
    small_stage = stage("small", "confidence", min_confidence=0.789)
    answer = run(cascade(small_stage, LARGE), call("completions", prompt="x"), models)
    assert answer.body["choices"][0]["text"] == "no"
    assert models.asked[0][1].body["logprobs"] == 0
    small_stage = stage("small", "confidence", min_confidence=0.787)
    answer = run(cascade(small_stage, LARGE), call("completions", prompt="x"), models)
    assert answer.body["choices"][0]["text"] == "yes"


def test_the_least_sure_choice_decides() -> None:
    both = chat("yes", 0.95)
    both["choices"] += chat("no", 0.6)["choices"]
    models = Models({"small": both, "large": chat("both")})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[], n=2), models)
    assert answer.answered_by == {"answer": "large"}


def test_thresholds_of_the_file_go_before_the_stage_and_those_of_labels_before_both() -> None:
    of_small = ModelThresholds(0.7, {"no": 0.99})
    known = Thresholds({"a": UnitThresholds({"small": of_small})})
    small = {"a": ("yes", 0.75), "b": ("yes", 0.75)}
    models = Models({"small": scorecard(small), "large": scorecard({"b": ("large", 1.0)})})
    answer = run(cascade(SURE, LARGE, thresholds=known), call("scores"), models)
    assert answer.answered_by == {"a": "small", "b": "large"}
    models = Models(
        {"small": scorecard({"a": ("no", 0.98)}), "large": scorecard({"a": ("yes", 1.0)})}
    )
    answer = run(cascade(SURE, LARGE, thresholds=known), call("scores"), models)
    assert answer.answered_by == {"a": "large"}


def test_a_file_without_a_threshold_takes_nothing_of_that_model() -> None:
    known = Thresholds({"a": UnitThresholds({"small": ModelThresholds()})})
    models = Models(
        {"small": scorecard({"a": ("no", 1.0)}), "large": scorecard({"a": ("yes", 0.5)})}
    )
    answer = run(cascade(SURE, LARGE, thresholds=known), call("scores"), models)
    assert answer.answered_by == {"a": "large"}


def test_a_curve_is_applied_before_the_threshold() -> None:
    curved = ModelThresholds(0.9, raw=(0.5, 1.0), calibrated=(0.2, 0.95))
    known = Thresholds({"answer": UnitThresholds({"small": curved})})
    small_stage = stage("small", "confidence", min_confidence=0.1)
    for raw, expected in ((0.95, "large"), (0.99, "small")):
        models = Models({"small": chat("x", raw), "large": chat("y")})
        answer = run(
            cascade(small_stage, LARGE, thresholds=known), call("chat", messages=[]), models
        )
        assert answer.answered_by == {"answer": expected}


def test_a_stage_that_hangs_is_left_after_its_time() -> None:
    async def hang(_: Call) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    small_stage = stage("small", "confidence", min_confidence=0.9, timeout_s=0.01)
    models = Models({"small": hang, "large": chat("no")})
    answer = run(cascade(small_stage, LARGE), call("chat", messages=[]), models)
    assert [step.error for step in answer.steps] == ["deadline_exceeded", None]
    assert models.asked[0][1].deadline_s == NOW_S + 0.01
    assert models.asked[1][1].deadline_s == NOW_S + 60


def test_when_the_callers_time_is_over_nobody_else_is_asked() -> None:
    async def hang(_: Call) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    models = Models({"small": hang, "large": chat("no")})
    asked = replace(call("chat", messages=[]), deadline_s=time.monotonic() + 0.02)
    with pytest.raises(DeadlineExceeded):
        run(cascade(SURE, LARGE, clock=time.monotonic), asked, models)
    assert models.models == ["small"]


def test_a_caller_who_hung_up_is_asked_for_nothing_more() -> None:
    models = Models({"small": ClientGone("gone"), "large": chat("no")})
    with pytest.raises(ClientGone):
        run(cascade(SURE, LARGE), call("chat", messages=[]), models)
    assert models.models == ["small"]


def test_a_mistake_in_the_program_is_not_hidden_by_the_next_stage() -> None:
    models = Models({"small": ZeroDivisionError(), "large": chat("no")})
    with pytest.raises(ZeroDivisionError):
        run(cascade(SURE, LARGE), call("chat", messages=[]), models)


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"message": {"content": ["x"]}}]},
        {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": "a"}]}}]},
        {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": 9.0}]}}]},
        chat("x", 0.5) | {"choices": [chat("x")["choices"][0] | {"logprobs": 3}]},
    ],
)
def test_garbage_with_status_200_goes_on(garbage: dict[str, Any]) -> None:
    models = Models({"small": garbage, "large": chat("no")})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[]), models)
    assert answer.answered_by == {"answer": "large"}
    assert answer.steps[0].error == "upstream_failed"


def test_a_probability_that_is_no_number_is_not_certainty() -> None:
    body = chat("x", 0.5)
    body["choices"][0]["logprobs"]["content"][0] = {"logprob": float("nan")}
    models = Models({"small": body, "large": chat("no")})
    answer = run(cascade(SURE, LARGE), call("chat", messages=[]), models)
    assert answer.answered_by == {"answer": "large"}


@pytest.mark.parametrize(
    "field", [{"confidence": "0.99"}, {"confidence": 1.5}, {"label": ["a"]}, {"indicator": 3}]
)
def test_a_scorecard_with_a_wrong_field_goes_on(field: dict[str, Any]) -> None:
    body = scorecard({"a": ("yes", 0.99)})
    body["answers"][0] |= field
    models = Models({"small": body, "large": scorecard({"a": ("no", 0.5)})})
    answer = run(cascade(SURE, LARGE), call("scores"), models)
    assert answer.answered_by == {"a": "large"}


def test_embeddings_have_no_cascade() -> None:
    with pytest.raises(InputError):
        run(cascade(SURE, LARGE), call("embeddings", input="x"), Models({}))


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1), min_size=5, max_size=5)
        | st.just(None),
        min_size=3,
        max_size=3,
    )
)
def test_each_indicator_has_the_answer_of_the_first_model_that_was_sure(
    sure: list[dict[str, float] | None],
) -> None:
    """The slow twin: look through all models' answers for each indicator by itself."""
    names = ["one", "two", "three"]
    stages = [stage(name, "confidence", min_confidence=0.5) for name in names]
    said: dict[str, Any] = {
        name: UpstreamFailed("down")
        if table is None
        else scorecard({unit: (name, confidence) for unit, confidence in table.items()})
        for name, table in zip(names, sure, strict=True)
    }
    expected = {
        unit: next((n for n, t in zip(names, sure, strict=True) if t and t[unit] >= 0.5), None)
        for unit in "abcde"
    }
    if not any(expected.values()) and sure[-1] is None:
        with pytest.raises(UpstreamFailed):
            run(cascade(*stages), call("scores", indicators=list("abcde")), Models(said))
        return
    answer = run(cascade(*stages), call("scores", indicators=list("abcde")), Models(said))
    assert labels(answer) == expected
    assert dict(answer.answered_by) == {u: n for u, n in expected.items() if n is not None}
