"""What a request's prompt begins with, as bytes: requests that begin alike can share a reading.

Templates put some words between these parts. They are the same for all requests of a model, so equal
bytes here mean equal tokens there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from descant.gateway.call import Call

MAX_BYTES = 32_768
"""What is looked at; about 8,000 tokens."""


def leading_text(call: Call) -> bytes:
    """Return the beginning of the prompt; nothing for embeddings, which share no reading."""
    return _joined(_parts(call))


def opening_text(call: Call) -> bytes:
    """Return what all requests of one conversation begin with: its tools, up to the first question."""
    return _joined(_opening(call))


def conversation_key(call: Call) -> str:
    """Return what names the conversation: its id where it has one, else how it begins."""
    conversation = call.body.get("conversation")
    if isinstance(conversation, Mapping) and isinstance(conversation.get("id"), str):
        return str(conversation["id"])
    text = opening_text(call) if call.operation != "embeddings" else call.raw
    return text.decode(errors="replace")


def _joined(parts: Iterator[str]) -> bytes:
    taken: list[bytes] = []
    room = MAX_BYTES
    for part in parts:
        # A character takes a byte at least: what is cut off here would not have found room.
        taken.append(part[:room].encode(errors="surrogatepass"))
        room -= len(taken[-1]) + 1
        if room <= 0:
            break
    return b"\x1e".join(taken)[:MAX_BYTES]


def _parts(call: Call) -> Iterator[str]:
    if call.operation == "chat":
        yield from _tools(call)
        for message in _items(call.body.get("messages")):
            yield from _message(message)
    elif call.operation == "completions":
        yield _prompt(call.body.get("prompt"))
    elif call.operation == "scores":
        yield from _conversation(call.body.get("conversation"))


def _opening(call: Call) -> Iterator[str]:
    if call.operation != "chat":
        yield from _parts(call)
        return
    yield from _tools(call)
    for message in _items(call.body.get("messages")):
        yield from _message(message)
        if message.get("role") == "user":
            return


def _tools(call: Call) -> Iterator[str]:
    tools = call.body.get("tools")
    if tools:
        yield orjson.dumps(tools).decode()


def _message(message: Mapping[str, Any]) -> Iterator[str]:
    yield str(message.get("role", ""))
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in _items(content):
        yield str(part.get("text", "")) or str(part.get(str(part.get("type")), ""))


def _prompt(prompt: object) -> str:
    """Return a prompt of text; of several the first; token ids as they are written."""
    if isinstance(prompt, list) and prompt:
        return prompt[0] if isinstance(prompt[0], str) else str(prompt[:MAX_BYTES])
    return prompt if isinstance(prompt, str) else ""


def _conversation(conversation: object) -> Iterator[str]:
    if isinstance(conversation, Mapping):
        for turn in _items(conversation.get("turns")):
            yield str(turn.get("speaker", ""))
            yield str(turn.get("text", ""))


def _items(value: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return ()
    return [item for item in value if isinstance(item, Mapping)]
