"""Tools and the shape of answers, from OpenAI's words to Anthropic's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.gateway.dialects.field import as_list, as_object, as_text, only, unsupported

_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any"}


def tool_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tools`` and ``tool_choice``, as far as the request has them.

    Raises:
        InputError: one is malformed.
        UnsupportedField: a tool is not a function.
    """
    given = body.get("tools")
    tools = [] if given is None else as_list(given, "tools")
    if not tools:
        if body.get("tool_choice") not in (None, "auto", "none"):
            unsupported("tool_choice")
        return {}
    fields: dict[str, Any] = {
        "tools": [
            _tool(as_object(tool, f"tools[{n}]"), f"tools[{n}]") for n, tool in enumerate(tools)
        ]
    }
    choice = _choice(body.get("tool_choice"))
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {**fields, "tool_choice": choice} if choice else fields


def output_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``output_config`` where the answer must be of a JSON schema.

    Source: Anthropic's structured outputs, which its models from Claude 4.5 on have.

    Raises:
        InputError: it is malformed.
        UnsupportedField: another format than text or a schema is asked for.
    """
    wanted = body.get("response_format")
    if wanted is None:
        return {}
    shape = as_object(wanted, "response_format")
    if shape.get("type") == "text":
        return {}
    if shape.get("type") != "json_schema":
        unsupported("response_format.type")
    place = "response_format.json_schema"
    named = as_object(shape.get("json_schema"), place)
    # `strict` asks for no more than this always gives; a schema's name is only for OpenAI's logs.
    only(named, ("name", "schema", "strict"), place)
    schema = as_object(named.get("schema"), f"{place}.schema")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _tool(tool: Mapping[str, Any], field: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        unsupported(f"{field}.type")
    place = f"{field}.function"
    function = as_object(tool.get("function"), place)
    only(function, ("name", "description", "parameters", "strict"), place)
    given = function.get("parameters")
    schema = {"type": "object"} if given is None else as_object(given, f"{place}.parameters")
    said: dict[str, Any] = {
        "name": as_text(function.get("name"), f"{place}.name"),
        "input_schema": schema,
    }
    if function.get("description") is not None:
        said["description"] = as_text(function["description"], f"{place}.description")
    if function.get("strict"):
        said["strict"] = True
    return said


def _choice(choice: Any) -> dict[str, Any]:
    if choice is None:
        return {}
    if isinstance(choice, str):
        return {"type": _CHOICES[choice]} if choice in _CHOICES else unsupported("tool_choice")
    named = as_object(choice, "tool_choice")
    if named.get("type") != "function":
        unsupported("tool_choice.type")
    function = as_object(named.get("function"), "tool_choice.function")
    return {"type": "tool", "name": as_text(function.get("name"), "tool_choice.function.name")}
