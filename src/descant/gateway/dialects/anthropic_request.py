"""A chat request, from OpenAI's words to Anthropic's; what has no such word is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.gateway.call import Call
from descant.gateway.dialects.anthropic_content import system_blocks, turns
from descant.gateway.dialects.anthropic_tools import output_fields, tool_fields
from descant.gateway.dialects.field import as_list, as_object, as_text, only, wrong

_TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "user",
    }
)
_SAYING_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "store": (False,),
    "service_tier": ("auto",),
    "modalities": (["text"],),
}
"""Values that ask for what is done anyway."""
_HIGHEST_TEMPERATURE = 1.0
"""OpenAI's scale goes to 2, Anthropic's to 1; what is above is asked for as 1."""


def message_request(call: Call, model: str) -> dict[str, Any]:
    """Return the body of ``/v1/messages``.

    Raises:
        InputError: a field is not what OpenAI's API says.
        UnsupportedField: a field has no words there.
    """
    body = call.body
    _refuse_unknown(body)
    messages = as_list(body.get("messages"), "messages")
    system, begin = system_blocks(messages)
    fields: dict[str, Any] = {
        "model": model,
        "max_tokens": call.max_tokens,
        "messages": turns(messages, begin),
    }
    if system:
        fields["system"] = system
    if call.is_stream:
        fields["stream"] = True
    return {**fields, **_decoding(body), **tool_fields(body), **output_fields(body), **_user(body)}


def _refuse_unknown(body: Mapping[str, Any]) -> None:
    asked = {key: value for key, value in body.items() if value not in _SAYING_NOTHING.get(key, ())}
    only(asked, _TRANSLATED, "")
    options = body.get("stream_options")
    if options is not None:
        only(as_object(options, "stream_options"), ("include_usage",), "stream_options")


def _decoding(body: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ("temperature", "top_p", "top_k"):
        if body.get(name) is not None:
            fields[name] = _number(body[name], name)
    if "temperature" in fields:
        fields["temperature"] = min(fields["temperature"], _HIGHEST_TEMPERATURE)
    stop = _stop(body.get("stop"))
    return {**fields, "stop_sequences": stop} if stop else fields


def _number(value: Any, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return wrong(field, "a number")


def _stop(stop: Any) -> list[str]:
    if stop is None:
        return []
    if isinstance(stop, str):
        return [stop]
    return [as_text(text, f"stop[{n}]") for n, text in enumerate(as_list(stop, "stop"))]


def _user(body: Mapping[str, Any]) -> dict[str, Any]:
    if body.get("user") is None:
        return {}
    return {"metadata": {"user_id": as_text(body["user"], "user")}}
