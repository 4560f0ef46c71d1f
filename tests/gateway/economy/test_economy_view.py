from __future__ import annotations

from typing import Any

import orjson
import pytest

from descant.gateway.call import Call, Caller, Usage
from descant.gateway.economy import EconomyView, RouteEconomy

SYSTEM = {"role": "system", "content": "s" * 400}
SHOTS = [{"role": "user", "content": "q" * 80}, {"role": "assistant", "content": "a" * 80}]


def call(*messages: dict[str, Any], **fields: Any) -> Call:
    body = {"model": "m", "messages": list(messages), **fields}
    return Call(
        id="1",
        operation="chat",
        model="m",
        body=body,
        raw=orjson.dumps(body),
        caller=Caller("k", "t"),
        prompt_tokens=1,
        max_tokens=500,
        is_stream=False,
        received_s=0,
        deadline_s=1,
    )


def ask(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"{number:080}"}


def only(view: EconomyView) -> RouteEconomy:
    (route,) = view.report().routes
    return route


def test_tokens_are_divided_by_what_they_are_spent_on_and_add_up() -> None:
    view = EconomyView()
    for number in range(1000):
        view.observe(
            "r", call(SYSTEM, *SHOTS, ask(number), tools=[{"name": "t" * 100}]), Usage(300, 40)
        )
    route = only(view)
    parts = route.part_tokens
    assert sum(parts.values()) == pytest.approx(1000 * 340)
    assert parts["answer"] == 40_000
    assert parts["system"] > parts["tools"] > parts["question"] > 0
    # The first requests could not know that these turns are in all of them.
    assert 0 < parts["history"] < 0.05 * parts["examples"]


def test_turns_that_only_one_conversation_has_are_history() -> None:
    view = EconomyView()
    for number in range(100):
        earlier = [ask(number), {"role": "assistant", "content": f"{number}"}]
        view.observe("r", call(SYSTEM, *earlier, ask(-number)), Usage(300, 40))
    assert only(view).part_tokens["examples"] == 0
    assert only(view).part_tokens["history"] > 0


def test_marked_examples_are_examples_from_the_first_request_on() -> None:
    view = EconomyView()
    marked = {"role": "system", "name": "example_user", "content": "q" * 80}
    view.observe("r", call(SYSTEM, marked, ask(1)), Usage(300, 40))
    assert only(view).part_tokens["examples"] > 0


def test_tool_results_after_the_question_belong_to_it() -> None:
    view = EconomyView()
    result = {"role": "tool", "content": "x" * 400}
    view.observe("r", call(ask(1), result), Usage(100, 1))
    assert only(view).part_tokens["question"] == pytest.approx(100)


def test_what_all_requests_have_in_common_and_what_a_prefix_cache_gets_of_it() -> None:
    view = EconomyView()
    for number in range(1000):
        cached = 0 if number % 2 else 64
        view.observe("r", call(SYSTEM, ask(number)), Usage(129, 1, cached))
    route = only(view)
    # 100 + 4 tokens of 128 are the system prompt; the first 19 requests could not know.
    assert route.constant_tokens == pytest.approx(981 * 129 * 104 / 128, rel=0.01)
    assert route.constant_cached_tokens == pytest.approx(981 * 32, rel=0.01)
    assert route.cached_tokens == 500 * 64


def test_a_system_prompt_with_a_new_word_in_each_request_is_not_constant() -> None:
    view = EconomyView()
    for number in range(200):
        changing = {"role": "system", "content": f"{number}" + "s" * 400}
        view.observe("r", call(changing, ask(number)), Usage(129, 1))
    assert only(view).constant_tokens == 0


def test_routes_are_apart_and_the_dearest_comes_first() -> None:
    view = EconomyView()
    view.observe("cheap", call(SYSTEM, ask(1)), Usage(10, 1))
    view.observe("dear", call(SYSTEM, ask(1)), Usage(10_000, 1))
    assert [route.route for route in view.report().routes] == ["dear", "cheap"]


def test_rows_are_plain_and_their_shares_add_up() -> None:
    view = EconomyView()
    for number in range(1500):
        view.observe("r", call(SYSTEM, ask(number)), Usage(129, number % 100 + 1))
    (row,) = view.report().rows()
    assert all(isinstance(value, str | int | float | None) for value in row.values())
    shares = [row[f"{part}_share"] for part in ("system", "question", "history", "answer")]
    assert sum(float(str(share)) for share in shares) == pytest.approx(1)
    assert row["max_tokens_tokens"] == pytest.approx(125, rel=0.03)
    assert row["max_tokens_answers"] == 1500
    assert row["requests"] == 1500


def test_answers_of_several_choices_say_nothing_of_one_answers_length() -> None:
    view = EconomyView()
    view.observe("r", call(ask(1), n=3), Usage(10, 90))
    assert only(view).advice is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": ["a"]},
        {"prompt": "a"},
        {"messages": [5, None]},
        {"messages": [], "tools": [5]},
    ],
)
def test_whatever_was_sent_is_counted(body: dict[str, Any]) -> None:
    view = EconomyView()
    for _ in range(30):
        view.observe("r", call(**body) if "messages" not in body else _with(body), Usage(10, 1))
    assert only(view).requests == 30


def _with(body: dict[str, Any]) -> Call:
    messages = body["messages"]
    return call(*messages, **{name: body[name] for name in body if name != "messages"})


def test_memory_does_not_grow_with_requests() -> None:
    view = EconomyView()
    for number in range(3000):
        view.observe("r", call(ask(number), ask(-number), ask(number)), Usage(10, number))
    sums = view._routes["r"]
    assert len(sums._prefixes._counts) <= 128
    assert len(sums._lengths._lengths._buckets) < 300
