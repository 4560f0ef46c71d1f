"""Chat requests that name a prompt of the library instead of writing it out.

::

    {"model": "polite", "prompt_template": {"name": "refund", "version": "3",
                                            "variables": {"shop": "Corner", "question": "…"}}}

The messages of the template come before those of the request, and nothing of the field goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from descant.gateway.call import Operation
from descant.gateway.economy import PromptLibrary
from descant.schema.errors import InputError

FIELD = "prompt_template"
_KEYS = frozenset({"id", "name", "version", "variables"})


class Prompted(NamedTuple):
    """A request with its prompt written out."""

    body: dict[str, Any]
    identity: str
    """``name@version`` and the hash of what it says."""


def write_out(
    operation: Operation, body: Mapping[str, Any], library: PromptLibrary | None
) -> Prompted:
    """Return the request with the messages of the prompt that it names.

    Raises:
        NotFound: there is no such prompt.
        InputError: the field is wrong, or the template's variables are others.
    """
    if operation != "chat":
        raise InputError("Prompts are for chat completions.", field=FIELD)
    if library is None:
        raise InputError("This gateway keeps no prompts.", field=FIELD)
    named = _read(body[FIELD])
    template = library.get(f"{named['name']}@{named['version']}")
    messages = body.get("messages", [])
    if not isinstance(messages, list):
        raise InputError("messages is not a list.", field="messages")
    rest = {name: value for name, value in body.items() if name != FIELD}
    written = [*template.render(named["variables"]), *messages]
    return Prompted({**rest, "messages": written}, template.identity)


def _read(field: Any) -> dict[str, Any]:
    if not isinstance(field, dict) or not set(field) <= _KEYS or {"id", "name"} <= set(field):
        message = "A prompt is named as {name, version, variables}; id may stand for name."
        raise InputError(message, field=FIELD)
    name, version = field.get("name", field.get("id")), field.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        raise InputError("A prompt's name and version are texts.", field=FIELD)
    variables = field.get("variables", {})
    if not isinstance(variables, dict):
        raise InputError("variables is an object of texts.", field=FIELD)
    return {"name": name, "version": version, "variables": variables}
