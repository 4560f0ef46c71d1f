"""The turns of a conversation, from OpenAI's messages to Anthropic's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from descant.gateway.dialects.field import as_list, as_object, as_text, only, unsupported, wrong

Block = dict[str, Any]

_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=]+)")
_SYSTEM_ROLES = ("system", "developer")


def system_blocks(messages: list[Any]) -> tuple[list[Block], int]:
    """Return what is said before the conversation, and how many messages that were.

    Raises:
        InputError: one of them is malformed.
    """
    blocks: list[Block] = []
    for number, message in enumerate(messages):
        field = f"messages[{number}]"
        said = as_object(message, field)
        if said.get("role") not in _SYSTEM_ROLES:
            return blocks, number
        only(said, ("role", "content"), field)
        blocks += _text_blocks(said.get("content"), f"{field}.content")
    return blocks, len(messages)


def turns(messages: list[Any], begin: int) -> list[Block]:
    """Return the conversation from message `begin` on, consecutive ones of one side as one.

    Raises:
        InputError: a message is malformed.
        UnsupportedField: a message says something that Anthropic's have no words for.
    """
    found: list[Block] = []
    for number, message in enumerate(messages[begin:], begin):
        field = f"messages[{number}]"
        role, blocks = _turn(as_object(message, field), field)
        if not blocks:
            wrong(f"{field}.content", "something that is said")
        if found and found[-1]["role"] == role:
            found[-1]["content"] += blocks
        else:
            found.append({"role": role, "content": blocks})
    if not found:
        wrong("messages", "a conversation with at least one message of a user")
    return found


def _turn(message: Mapping[str, Any], field: str) -> tuple[str, list[Block]]:
    role = message.get("role")
    if role == "user":
        only(message, ("role", "content"), field)
        return "user", _user_blocks(message.get("content"), f"{field}.content")
    if role == "assistant":
        return "assistant", _assistant_blocks(message, field)
    if role == "tool":
        return "user", [_tool_result(message, field)]
    # A system message in the middle would have to be moved, and then mean something else.
    return unsupported(f"{field}.role")


def _assistant_blocks(message: Mapping[str, Any], field: str) -> list[Block]:
    only(message, ("role", "content", "tool_calls"), field)
    content = message.get("content")
    blocks = [] if content is None else _text_blocks(content, f"{field}.content")
    calls = message.get("tool_calls")
    for number, call in enumerate([] if calls is None else as_list(calls, f"{field}.tool_calls")):
        place = f"{field}.tool_calls[{number}]"
        blocks.append(_tool_use(as_object(call, place), place))
    return blocks


def _tool_use(call: Mapping[str, Any], field: str) -> Block:
    if call.get("type", "function") != "function":
        unsupported(f"{field}.type")
    function = as_object(call.get("function"), f"{field}.function")
    place = f"{field}.function.arguments"
    arguments = as_text(function.get("arguments", ""), place)
    try:
        given = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        wrong(place, "a JSON object")
    name = as_text(function.get("name"), f"{field}.function.name")
    return {
        "type": "tool_use",
        "id": as_text(call.get("id"), f"{field}.id"),
        "name": name,
        "input": given,
    }


def _tool_result(message: Mapping[str, Any], field: str) -> Block:
    only(message, ("role", "content", "tool_call_id"), field)
    identity = as_text(message.get("tool_call_id"), f"{field}.tool_call_id")
    result: Block = {"type": "tool_result", "tool_use_id": identity}
    content = _text_blocks(message.get("content"), f"{field}.content")
    return {**result, "content": content} if content else result


def _text_blocks(content: Any, field: str) -> list[Block]:
    """Return blocks of text; empty ones, which Anthropic refuses, say nothing and are left out."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    found: list[Block] = []
    for number, part in enumerate(as_list(content, field)):
        found += _text_part(as_object(part, f"{field}[{number}]"), f"{field}[{number}]")
    return found


def _text_part(part: Mapping[str, Any], field: str) -> list[Block]:
    if part.get("type") != "text":
        unsupported(f"{field}.type")
    only(part, ("type", "text"), field)
    return _text_blocks(as_text(part.get("text"), f"{field}.text"), field)


def _user_blocks(content: Any, field: str) -> list[Block]:
    if isinstance(content, str):
        return _text_blocks(content, field)
    found: list[Block] = []
    for number, part in enumerate(as_list(content, field)):
        place = f"{field}[{number}]"
        said = as_object(part, place)
        is_image = said.get("type") == "image_url"
        found += [_image(said, place)] if is_image else _text_part(said, place)
    return found


def _image(part: Mapping[str, Any], field: str) -> Block:
    only(part, ("type", "image_url"), field)
    place = f"{field}.image_url"
    image = as_object(part.get("image_url"), place)
    only(image, ("url", "detail"), place)
    if image.get("detail", "auto") not in (None, "auto"):
        unsupported(f"{place}.detail")
    url = as_text(image.get("url"), f"{place}.url")
    found = _DATA_URL.fullmatch(url)
    if found:
        source = {"type": "base64", "media_type": found[1], "data": found[2]}
    elif url.startswith("https://"):
        source = {"type": "url", "url": url}
    else:
        wrong(f"{place}.url", "a data URL of a PNG, JPEG, GIF or WebP image, or an https:// one")
    return {"type": "image", "source": source}
