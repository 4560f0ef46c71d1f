from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.schema.errors import InputError, UnsupportedField

from .calls import KEY, call_of, chat, speaking

TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def sent(**fields: Any) -> dict[str, Any]:
    request = speaking("anthropic").request(chat(**fields), "claude")
    body: dict[str, Any] = orjson.loads(request.body)
    return body


def said(*messages: dict[str, Any]) -> dict[str, Any]:
    return sent(messages=list(messages))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_where_and_with_which_headers() -> None:
    request = speaking("anthropic", "/v1").request(chat(stream=True), "claude")
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.headers == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-api-key": KEY,
    }
    assert orjson.loads(request.body)["stream"] is True


def test_the_least_request() -> None:
    assert sent() == {
        "model": "claude",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [text("Hello")]}],
    }


def test_what_comes_first_from_the_system_goes_to_the_top() -> None:
    body = said(
        {"role": "system", "content": "One."},
        {"role": "developer", "content": [text("Two."), text("")]},
        user("Hello"),
    )
    assert body["system"] == [text("One."), text("Two.")]
    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_turns_alternate() -> None:
    body = said(
        user("a"),
        user("b"),
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
    )
    assert body["messages"] == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
    ]


def test_tools_are_called_and_answer() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    bare = {"id": "t2", "type": "function", "function": {"name": "look", "arguments": ""}}
    body = said(
        user("a"),
        {"role": "assistant", "content": "", "tool_calls": [call, bare], "refusal": None},
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
        {"role": "tool", "tool_call_id": "t2", "content": ""},
        user("b"),
    )
    uses = [{"type": "tool_use", "name": "look", "id": "t1", "input": {"at": 1}}]
    uses += [{"type": "tool_use", "name": "look", "id": "t2", "input": {}}]
    assert body["messages"][1] == {"role": "assistant", "content": uses}
    results = [{"type": "tool_result", "tool_use_id": "t1", "content": [text("seen")]}]
    results += [{"type": "tool_result", "tool_use_id": "t2"}]
    assert body["messages"][2] == {"role": "user", "content": [*results, text("b")]}


def test_images() -> None:
    images = [
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    blocks = said(user([text("See"), *images]))["messages"][0]["content"]
    data = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert blocks[1] == {"type": "image", "source": data}
    assert blocks[2] == {
        "type": "image",
        "source": {"type": "url", "url": "https://example.org/a.png"},
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "look"}},
            None,
            {"type": "tool", "name": "look"},
        ),
    ],
)
def test_tools_and_how_they_are_chosen(choice: Any, parallel: Any, expected: Any) -> None:
    strict = {"type": "function", "function": {"name": "go", "strict": True}}
    body = sent(tools=[TOOL, strict], tool_choice=choice, parallel_tool_calls=parallel)
    assert body["tools"] == [
        {"name": "look", "input_schema": {"type": "object"}, "description": "Looks."},
        {"name": "go", "input_schema": {"type": "object"}, "strict": True},
    ]
    assert body.get("tool_choice") == expected


def test_decoding() -> None:
    body = sent(temperature=1.7, top_p=0.9, top_k=5, stop="END", user="u-1", n=1, logprobs=False)
    assert body["temperature"] == 1.0
    assert (body["top_p"], body["top_k"], body["stop_sequences"]) == (0.9, 5, ["END"])
    assert body["metadata"] == {"user_id": "u-1"}
    assert sent(temperature=0, stop=["a", "b"])["stop_sequences"] == ["a", "b"]


def test_an_answer_of_a_schema() -> None:
    schema = {"type": "object", "properties": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert sent(response_format=wanted)["output_config"] == {
        "format": {"type": "json_schema", "schema": schema}
    }
    assert "output_config" not in sent(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"guided_choice": ["a"]}, "guided_choice"),
        (
            {"stream_options": {"continuous_usage_stats": True}},
            "stream_options.continuous_usage_stats",
        ),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"messages": [user("a"), {"role": "system", "content": "b"}]}, "messages[1].role"),
        ({"messages": [{**user("a"), "name": "Ann"}]}, "messages[0].name"),
        ({"messages": [user([{"type": "input_audio"}])]}, "messages[0].content[0].type"),
        (
            {
                "messages": [
                    user([{"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}])
                ]
            },
            "messages[0].content[0].image_url.detail",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedField) as caught:
        sent(**fields)
    assert caught.value.field == named
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [user("")]}, "messages[0].content"),
        ({"messages": [user(None)]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"stop": [1]}, "stop[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"response_format": []}, "response_format"),
        ({"user": 3}, "user"),
        (
            {
                "messages": [
                    user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_is_malformed_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        sent(**fields)
    assert caught.value.field == named


@pytest.mark.parametrize("arguments", ["[]", "{", "1", "nonsense"])
def test_arguments_of_a_tool_are_an_object(arguments: str) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    with pytest.raises(InputError) as caught:
        said(user("a"), {"role": "assistant", "tool_calls": [call]})
    assert caught.value.field == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize("operation", ["completions", "embeddings", "scores"])
def test_there_is_chat_only(operation: Any) -> None:
    with pytest.raises(UnsupportedField):
        speaking("anthropic").request(call_of({"model": "m"}, operation), "claude")


KEYS = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "id"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["messages", "tools", "tool_choice", "response_format", "stop", "temperature", "stream_options"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_request_meets_any_but_the_typed_errors(fields: dict[str, Any]) -> None:
    try:
        body = sent(**fields)
    except InputError as error:
        assert error.field
    else:
        assert body["messages"]
