"""Function calls: how tools are told to a model, and its calls told to the caller.

A call is the JSON object ``{"name": …, "arguments": {…}}`` as the whole of an answer. A call that has
to be made is forced by a grammar; otherwise the answer may be one or may be text.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from descant.schema.errors import InputError
from descant.server.body import Body, Text


class FunctionBody(Body):
    """One function that may be called."""

    name: Text
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(None, description="Forced calls always follow the schema.")


class ToolBody(Body):
    """One tool."""

    type: Literal["function"]
    function: FunctionBody


class NamedFunction(Body):
    """A function by name."""

    name: Text


class NamedTool(Body):
    """The one tool to call."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


def offered_tools(tools: Sequence[ToolBody], choice: ToolChoice | None) -> list[ToolBody]:
    """Return the tools that may be called.

    Raises:
        InputError: one is to be called that is not there.
    """
    if choice == "none":
        return []
    if not isinstance(choice, NamedTool):
        if choice == "required" and not tools:
            raise InputError("A tool is required and there is none.", field="tool_choice")
        return list(tools)
    named = [tool for tool in tools if tool.function.name == choice.function.name]
    if not named:
        raise InputError(
            f"There is no tool {choice.function.name!r}.",
            field="tool_choice",
            remedy="Name one of tools.",
        )
    return named


def is_forced(choice: ToolChoice | None) -> bool:
    """Return whether the answer has to be a call."""
    return choice == "required" or isinstance(choice, NamedTool)


def tools_text(tools: Sequence[ToolBody]) -> str:
    """Return how a model is told what it may call."""
    lines = [
        json.dumps(tool.function.model_dump(exclude_none=True), ensure_ascii=False)
        for tool in tools
    ]
    return "\n".join(
        [
            "These functions can be called:",
            *lines,
            'To call one, answer with nothing but {"name": its name, "arguments": its arguments}.',
        ]
    )


def parse_call(text: str, tools: Sequence[ToolBody]) -> dict[str, Any] | None:
    """Return an answer as OpenAI's API writes a call, or None if it is not one."""
    try:
        called = json.loads(text)
    except ValueError:
        return None
    if not isinstance(called, Mapping) or set(called) != {"name", "arguments"}:
        return None
    names = {tool.function.name for tool in tools}
    if called["name"] not in names or not isinstance(called["arguments"], Mapping):
        return None
    arguments = json.dumps(called["arguments"], ensure_ascii=False)
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": called["name"], "arguments": arguments},
    }


def call_text(name: str, arguments: str) -> str:
    """Return an earlier call as the model wrote it.

    Raises:
        InputError: the arguments are not a JSON object.
    """
    try:
        parsed = json.loads(arguments)
    except ValueError as error:
        raise InputError("Arguments of a call must be JSON.", field="messages") from error
    return json.dumps({"name": name, "arguments": parsed}, ensure_ascii=False)
