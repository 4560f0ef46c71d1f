from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import StreamRecording, is_worth_keeping, replay_stream

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
TOOL_CALL = st.builds(
    lambda key, name, arguments: {
        "id": key,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    TEXT.filter(bool),
    TEXT.filter(bool),
    TEXT,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT | st.none()},
    optional={
        "tool_calls": st.lists(TOOL_CALL, min_size=1, max_size=3),
        "reasoning_content": TEXT,
        "refusal": st.none(),
    },
)
LOGPROBS = st.fixed_dictionaries(
    {"content": st.lists(st.just({"token": "a", "logprob": -0.5, "top_logprobs": []}), max_size=3)}
)
CHAT = st.lists(
    st.tuples(MESSAGE, LOGPROBS | st.none(), st.sampled_from(["stop", "length", "tool_calls"])),
    min_size=1,
    max_size=3,
)


def chat_body(choices: list[tuple[Any, Any, str]]) -> dict[str, Any]:
    rows = [
        {"index": i, "message": message, "logprobs": logprobs, "finish_reason": reason}
        for i, (message, logprobs, reason) in enumerate(choices)
    ]
    about = {"id": "c", "created": 1, "model": "m", "system_fingerprint": "f"}
    return {**about, "object": "chat.completion", "choices": rows, "usage": USAGE}


def recorded(events: bytes, cuts: list[int], num_choices: int = 1) -> bytes | None:
    recording = StreamRecording(num_choices, 1_000_000)
    places = sorted(cut % (len(events) + 1) for cut in cuts)
    for begin, end in zip([0, *places], [*places, len(events)], strict=True):
        recording.feed(events[begin:end])
    return recording.body(USAGE)


def lines(*events: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def chunk(**choice: Any) -> dict[str, Any]:
    about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**about, "choices": [{"index": 0, "finish_reason": None, **choice}]}


END = lines(chunk(delta={}, finish_reason="stop"))
DONE = b"data: [DONE]\n\n"


@given(CHAT, st.booleans(), st.lists(st.integers(0, 10_000), max_size=5))
def test_a_body_given_as_a_stream_and_recorded_is_the_same_body(
    choices: list[Any], include_usage: bool, cuts: list[int]
) -> None:
    body = chat_body(choices)
    events = replay_stream(orjson.dumps(body), include_usage)
    result = recorded(events, cuts, len(choices))
    assert result is not None
    assert orjson.loads(result) == body


@given(st.lists(TEXT, min_size=1, max_size=3), st.booleans())
def test_the_same_for_completions(texts: list[str], include_usage: bool) -> None:
    rows = [
        {"index": i, "text": text, "logprobs": None, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    about = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    body = {**about, "choices": rows, "usage": USAGE}
    result = recorded(replay_stream(orjson.dumps(body), include_usage), [], len(texts))
    assert result is not None
    assert orjson.loads(result) == body


def test_pieces_of_text_tool_calls_and_logprobs_are_joined() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "function": function}

    events = lines(
        chunk(delta={"role": "assistant", "content": None}, logprobs=None),
        chunk(
            delta={
                "tool_calls": [{"id": "1", "type": "function", **call(0, name="f", arguments="")}]
            }
        ),
        chunk(delta={"tool_calls": [call(0, arguments='{"a"')]}),
        chunk(
            delta={
                "tool_calls": [{"id": "2", "type": "function", **call(1, name="g", arguments="{}")}]
            }
        ),
        chunk(delta={"tool_calls": [call(0, arguments=":1}")]}),
        chunk(delta={"content": "A"}, logprobs={"content": [{"token": "A"}]}),
        chunk(delta={"content": "b"}, logprobs={"content": [{"token": "b"}]}),
        chunk(delta={}, finish_reason="tool_calls"),
    )
    result = recorded(events + DONE, [])
    assert result is not None
    (choice,) = orjson.loads(result)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["logprobs"] == {"content": [{"token": "A"}, {"token": "b"}]}
    assert choice["message"] == {
        "role": "assistant",
        "content": "Ab",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_comments_and_carriage_returns_are_no_trouble() -> None:
    events = b": ping\r\n\r\nevent: x\r\n" + (
        lines(chunk(delta={"content": "a"})) + END + DONE
    ).replace(b"\n", b"\r\n")
    result = recorded(events, [])
    assert result is not None
    assert orjson.loads(result)["choices"][0]["message"] == {"content": "a"}


def test_usage_is_put_in_where_the_stream_told_none() -> None:
    result = recorded(lines(chunk(delta={"content": "a"})) + END + DONE, [])
    assert result is not None
    assert orjson.loads(result)["usage"] == USAGE


@pytest.mark.parametrize(
    "events",
    [
        b"",
        DONE,
        lines(chunk(delta={"content": "a"})) + DONE,
        lines(chunk(delta={"content": "a"})) + END,
        lines(chunk(delta={"content": "a"}), {"error": {"message": "no"}}) + END + DONE,
        b"data: {cut\n\n" + END + DONE,
        b"data: 5\n\n" + END + DONE,
        lines({"object": "something"}) + END + DONE,
        lines(chunk(delta="a")) + END + DONE,
    ],
    ids=[
        "nothing",
        "no choice",
        "unfinished",
        "no end",
        "error",
        "cut",
        "number",
        "strange",
        "text",
    ],
)
def test_a_stream_that_did_not_end_properly_is_not_kept(events: bytes) -> None:
    assert recorded(events, []) is None


def test_a_stream_in_which_a_choice_is_missing_is_not_kept() -> None:
    assert recorded(lines(chunk(delta={"content": "a"})) + END + DONE, [], num_choices=2) is None


def test_a_long_stream_is_not_kept() -> None:
    recording = StreamRecording(1, 300)
    recording.feed(lines(chunk(delta={"content": "a" * 300})))
    recording.feed(END + DONE)
    assert recording.body(USAGE) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"data": []}', True),
        (b'{"choices": [{"finish_reason": "stop"}]}', True),
        (b'{"choices": [{"finish_reason": null}]}', False),
        (b'{"choices": [{"finish_reason": "content_filter"}]}', False),
        (b'{"error": {"message": "quota"}}', False),
        (b"<html>", False),
        (b"[]", False),
        (b"{}", False),
        (b'{"choices": null}', False),
        (b'{"choices": [{"finish_reason": ["stop"]}]}', False),
        (b"", False),
    ],
)
def test_only_whole_answers_are_worth_keeping(body: bytes, expected: bool) -> None:
    assert is_worth_keeping(body) == expected
