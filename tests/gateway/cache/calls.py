"""Calls and answers as the tests of the caches want them."""

from __future__ import annotations

from typing import Any

import orjson

from descant.gateway.cache import JSON, CachedAnswer
from descant.gateway.call import Call, Caller, Operation, Usage


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def call(
    body: dict[str, Any], tenant: str = "quality", operation: Operation = "chat", model: str = "m"
) -> Call:
    return Call(
        id="1",
        operation=operation,
        model=model,
        body=body,
        raw=orjson.dumps(body),
        caller=Caller("key", tenant),
        prompt_tokens=10,
        max_tokens=10,
        is_stream=body.get("stream") is True,
        received_s=0.0,
        deadline_s=10.0,
    )


def chat(text: str = "Where is my parcel?", system: str = "Be brief.", **fields: Any) -> Call:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return call({"model": "m", "messages": messages, "temperature": 0, **fields})


def answer(text: str = "On its way.") -> CachedAnswer:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    whole = {"id": "a", "object": "chat.completion", "model": "m", "choices": [choice]}
    return CachedAnswer(orjson.dumps(whole), JSON, Usage(10, 3), 0.0)
