"""A kept answer given as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

_CHUNK_OBJECTS = {"chat.completion": "chat.completion.chunk", "text_completion": "text_completion"}
_DONE = b"data: [DONE]\n\n"
_CONTENT = ("message", "text", "logprobs")


def replay_stream(body: bytes, include_usage: bool) -> bytes:
    """Return the events of an answer of chat or completions: each choice in one piece, then its end.

    `include_usage` is the caller's ``stream_options.include_usage``.
    """
    answer = orjson.loads(body)
    usage, choices = answer.pop("usage", None), answer.pop("choices")
    answer["object"] = _CHUNK_OBJECTS[answer["object"]]
    if include_usage:
        answer["usage"] = None
    events = [answer | {"choices": [piece]} for choice in choices for piece in _pieces(choice)]
    if include_usage:
        events.append(answer | {"choices": [], "usage": usage})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + _DONE


def _pieces(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the choice's content, then what is only known at its end."""
    index = choice["index"]
    logprobs = choice.get("logprobs")
    end = {name: value for name, value in choice.items() if name not in _CONTENT}
    begin = {"index": index, "logprobs": logprobs, "finish_reason": None}
    if "message" in choice:
        yield begin | {"delta": _with_indexes(choice["message"])}
        yield end | {"delta": {}, "logprobs": None}
    else:
        yield begin | {"text": choice["text"]}
        yield end | {"text": "", "logprobs": None}


def _with_indexes(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    return message | {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}
