"""A whole message, from Anthropic's words to OpenAI's."""

from __future__ import annotations

from typing import Any

from descant.gateway.dialects.anthropic_usage import FINISH_REASONS, message_usage
from descant.gateway.dialects.dialect import Answered
from descant.gateway.dialects.document import (
    TooDeep,
    dump,
    object_in,
    parse_object,
    text_in,
)
from descant.gateway.dialects.openai_usage import usage_object
from descant.schema.errors import GarbledAnswer


def chat_answer(body: bytes, created_s: int) -> Answered:
    """Return the message as a chat completion.

    Raises:
        GarbledAnswer: it is no message.
    """
    document = parse_object(body)
    if document is None or document.get("type") != "message":
        raise GarbledAnswer("The upstream's answer is no message.")
    content = document.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise GarbledAnswer("The upstream's message has no content.")
    usage = message_usage(object_in(document, "usage"))
    answer: dict[str, Any] = {
        "id": text_in(document, "id"),
        "object": "chat.completion",
        "created": created_s,
        "model": text_in(document, "model"),
        "choices": [_choice(document)],
    }
    if usage is not None:
        answer["usage"] = usage_object(usage)
    return Answered(dump(answer), usage)


def _choice(document: dict[str, Any]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = document["content"]
    texts = [text_in(block, "text") for block in blocks if block.get("type") == "text"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        message["tool_calls"] = calls
    reason = FINISH_REASONS.get(text_in(document, "stop_reason"), "stop")
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments = dump(object_in(block, "input")).decode()
    except TooDeep as error:
        raise GarbledAnswer("The arguments of a tool call are nested too deeply.") from error
    function = {"name": text_in(block, "name"), "arguments": arguments}
    return {"id": text_in(block, "id"), "type": "function", "function": function}
