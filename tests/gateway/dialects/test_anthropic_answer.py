from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway import Usage
from descant.schema.errors import GarbledAnswer

from .calls import chat, speaking

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 5,
}


def message(**fields: Any) -> bytes:
    content = [{"type": "text", "text": "Hi"}]
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return orjson.dumps({**whole, "content": content, "stop_reason": "end_turn", **fields})


def answered(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(speaking("anthropic").answer(chat(), body).body)
    return found


def test_a_message_becomes_a_completion() -> None:
    assert answered(message(usage=USAGE)) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 60,
            "completion_tokens": 5,
            "total_tokens": 65,
            "prompt_tokens_details": {"cached_tokens": 30},
        },
    }


def test_the_prompt_includes_what_a_cache_held_or_took() -> None:
    usage = speaking("anthropic").answer(chat(), message(usage=USAGE)).usage
    assert usage == Usage(60, 5, 30)
    assert speaking("anthropic").answer(chat(), message()).usage is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("a new one", "stop"),
        (None, "stop"),
    ],
)
def test_why_it_ended(reason: Any, expected: str) -> None:
    assert answered(message(stop_reason=reason))["choices"][0]["finish_reason"] == expected


def test_tools_are_called() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "é"}}
    call = answered(message(content=[use], stop_reason="tool_use"))["choices"][0]["message"]
    assert call["content"] is None
    assert call["tool_calls"][0]["id"] == "t1"
    function = call["tool_calls"][0]["function"]
    assert (function["name"], orjson.loads(function["arguments"])) == ("look", {"at": "é"})


def test_what_is_thought_is_not_said() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A"}]
    content += [{"type": "text", "text": "B"}]
    assert answered(message(content=content))["choices"][0]["message"]["content"] == "AB"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"type":"error","error":{}}',
        message(content=[1]),
        message(content=1),
    ],
)
def test_garbage_is_no_answer(body: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        speaking("anthropic").answer(chat(), body)


def test_a_call_nested_beyond_reason_is_garbage() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    body = b'{"type":"message","content":[{"type":"tool_use","input":{"a":%s}}]}' % deep
    with pytest.raises(GarbledAnswer):
        speaking("anthropic").answer(chat(), body)


KEYS = st.sampled_from(["type", "text", "id", "name", "input", "content", "usage", "input_tokens"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


@given(JSON, JSON, JSON)
def test_nothing_but_the_typed_error(content: Any, usage: Any, reason: Any) -> None:
    whole = {"type": "message", "content": content, "usage": usage, "stop_reason": reason}
    try:
        assert answered(json.dumps(whole).encode())["object"] == "chat.completion"
    except GarbledAnswer as error:
        assert error.http_status == 502
