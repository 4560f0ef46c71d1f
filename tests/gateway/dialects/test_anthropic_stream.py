from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway import Call, Usage

from .calls import chat, events, run_chopped, run_whole, speaking


def event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "model": "claude-x",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 1},
    },
)
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HI = delta(0, "text_delta", text="H\u00ef\n\n")
STOP_0 = event("content_block_stop", index=0)
TOOL = event(
    "content_block_start",
    index=1,
    content_block={"type": "tool_use", "id": "t1", "name": "look", "input": {}},
)
OPEN = delta(1, "input_json_delta", partial_json='{"at"')
CLOSE = delta(1, "input_json_delta", partial_json=": 1}")
STOP_1 = event("content_block_stop", index=1)
ENDING = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 15})
END = event("message_stop")
PING = event("ping")
NEW = event("content_block_sparkle", index=0)
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
WHOLE = START + PING + TEXT + HI + STOP_0 + TOOL + OPEN + CLOSE + STOP_1 + ENDING + END
PARTS = st.sampled_from(
    [START, TEXT, HI, STOP_0, TOOL, OPEN, CLOSE, STOP_1, ENDING, END, PING, NEW, OVERLOADED]
    + [
        b"data: {\n\n",
        b"<html>\n\n",
        event("content_block_delta"),
        event("message_start", message=3),
    ]
)


def asking() -> Call:
    return chat(stream=True, stream_options={"include_usage": True})


def joined(sent: bytes) -> dict[str, Any]:
    """Return what a caller puts together from the chunks."""
    found: dict[str, Any] = {"content": "", "tools": {}, "reason": None}
    for chunk in events(sent)[:-1]:
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["model"], chunk["created"]) == (
            "msg_1",
            "claude-x",
            1_700_000_000,
        )
        for choice in chunk["choices"]:
            found["content"] += choice["delta"].get("content") or ""
            found["reason"] = choice["finish_reason"] or found["reason"]
            for call in choice["delta"].get("tool_calls", []):
                tool = found["tools"].setdefault(call["index"], {"arguments": ""})
                tool["arguments"] += call["function"].pop("arguments")
                tool |= call["function"] | {"id": call.get("id", tool.get("id"))}
    return found


def test_a_stream_becomes_chunks() -> None:
    reader = speaking("anthropic").stream(asking())
    sent = run_whole(reader, WHOLE)
    assert joined(sent) == {
        "content": "H\u00ef\n\n",
        "tools": {0: {"id": "t1", "name": "look", "arguments": '{"at": 1}'}},
        "reason": "tool_calls",
    }
    assert reader.is_complete and reader.failure is None
    assert reader.usage == Usage(40, 15, 30)
    assert sent.endswith(b"data: [DONE]\n\n")
    assert b": ping\n\n" in sent


def test_the_usage_comes_last_where_it_was_asked_for() -> None:
    *_, told, done = events(run_whole(speaking("anthropic").stream(asking()), WHOLE))
    assert (told["choices"], told["usage"]["prompt_tokens"], done) == ([], 40, b"[DONE]")
    others = events(run_whole(speaking("anthropic").stream(chat(stream=True)), WHOLE))
    assert all("usage" not in chunk for chunk in others[:-1])


def test_it_says_what_the_whole_message_says() -> None:
    content = [
        {"type": "text", "text": "H\u00ef\n\n"},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
    ]
    usage = {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 15}
    whole = {"type": "message", "content": content, "usage": usage, "stop_reason": "tool_use"}
    answered = speaking("anthropic").answer(chat(), orjson.dumps(whole))
    message = orjson.loads(answered.body)["choices"][0]["message"]
    reader = speaking("anthropic").stream(asking())
    streamed = joined(run_whole(reader, WHOLE))
    assert streamed["content"] == message["content"]
    called, expected = streamed["tools"][0], message["tool_calls"][0]["function"]
    assert orjson.loads(called["arguments"]) == orjson.loads(expected["arguments"])
    assert reader.usage == answered.usage


def test_a_tool_without_arguments_has_an_empty_object() -> None:
    empty = delta(1, "input_json_delta", partial_json="")
    stream = START + TOOL + empty + STOP_1 + ENDING + END
    assert joined(run_whole(speaking("anthropic").stream(asking()), stream))["tools"][0] == {
        "id": "t1",
        "name": "look",
        "arguments": "{}",
    }


def test_overload_before_anything_was_said_can_be_asked_elsewhere() -> None:
    reader = speaking("anthropic").stream(asking())
    assert reader.feed(OVERLOADED) == b""
    assert reader.failure is not None
    assert (reader.failure.reason, reader.failure.status) == ("stated", 529)


def test_a_stream_that_is_cut_or_begins_in_the_middle_says_so() -> None:
    cut, headless = (speaking("anthropic").stream(asking()) for _ in range(2))
    assert events(run_whole(cut, START + HI[:30]))[-1]["error"]["code"] == "stream_cut"
    assert events(run_whole(headless, HI + END))[-1]["error"]["code"] == "garbled_answer"


@given(st.lists(PARTS, max_size=10), st.lists(st.integers(0, 900), max_size=30))
def test_in_any_pieces_it_is_the_same(parts: list[bytes], cuts: list[int]) -> None:
    whole, chopped = (speaking("anthropic").stream(asking()) for _ in range(2))
    stream = b"".join(parts)
    assert run_chopped(chopped, stream, cuts) == run_whole(whole, stream)
    assert chopped.usage == whole.usage
    assert (chopped.is_complete, chopped.failure) == (whole.is_complete, whole.failure)


KEYS = st.sampled_from(
    ["index", "delta", "type", "text", "usage", "content_block", "message", "error", "stop_reason"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "error"]
    + ["message_delta", "message_stop", "ping", "other"]
)


@given(st.lists(st.tuples(KINDS, st.dictionaries(KEYS.filter("type".__ne__), JSON)), max_size=6))
def test_no_event_is_more_than_a_failure(said: list[tuple[str, dict[str, Any]]]) -> None:
    reader = speaking("anthropic").stream(asking())
    stream = START + b"".join(event(kind, **fields) for kind, fields in said)
    assert events(run_whole(reader, stream))
    assert reader.is_complete or reader.failure is not None


@pytest.mark.parametrize("stream", [b"", b"\n\n", b'{"type":"error","error":{"type":"api_error"}}'])
def test_what_is_no_stream_is_a_failure(stream: bytes) -> None:
    reader = speaking("anthropic").stream(asking())
    assert "error" in events(run_whole(reader, stream))[-1]
    assert not reader.is_complete
