"""A whole answer as the stream that a caller asked for: one piece of each choice, and the end.

A cascade must see an answer whole before it takes it, so there is nothing to stream earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from descant.gateway.call import Call
from descant.gateway.cascade.offers import Json

_PARTS_OF_AN_ANSWER = {"choices", "usage", "object"}


def event_stream(call: Call, body: Json) -> bytes:
    """Return the answer to a chat or completion as ``text/event-stream``."""
    head = {key: value for key, value in body.items() if key not in _PARTS_OF_AN_ANSWER}
    head["object"] = "chat.completion.chunk" if call.operation == "chat" else "text_completion"
    pieces = [{**head, "choices": [choice]} for choice in _choices(call, body)]
    options = call.body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        pieces.append({**head, "choices": [], "usage": body.get("usage")})
    events = [b"data: " + orjson.dumps(piece) + b"\n\n" for piece in pieces]
    return b"".join([*events, b"data: [DONE]\n\n"])


def _choices(call: Call, body: Json) -> Iterator[dict[str, Any]]:
    for choice in body["choices"]:
        if call.operation != "chat":
            yield dict(choice)
            continue
        message = choice["message"]
        delta = {key: value for key, value in message.items() if key != "tool_calls"}
        if message.get("tool_calls"):
            # In a stream each call says which one it is.
            delta["tool_calls"] = [
                {"index": index, **called} for index, called in enumerate(message["tool_calls"])
            ]
        rest = {key: value for key, value in choice.items() if key != "message"}
        yield {**rest, "delta": delta}
