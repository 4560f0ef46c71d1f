"""A model's chat template, run so that what people wrote never passes through it.

In: roles and contents. Out: a row of parts, each either text that the template wrote or the number of
a message whose content stands there. The template is run with placeholders for contents; what a
template does to them other than trimming space is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from descant.schema.errors import InputError, InvalidModel

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message.role }}:\n{{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
)
"""What is used for a model that has no chat template: each message under its role's name."""

_OPEN, _CLOSE = "\ue000", "\ue001"
# A space no template writes: where it is gone, the template trims contents on that side.
_PROBE = "\x0b"
_PLACEHOLDER = re.compile(f"({_PROBE}?){_OPEN}(\\d+){_CLOSE}({_PROBE}?)")


@dataclass(frozen=True)
class ContentSlot:
    """Where the content of one message goes."""

    message: int
    is_trimmed_left: bool
    is_trimmed_right: bool

    def fill(self, content: str) -> str:
        """Return the content as the template would have written it."""
        content = content.lstrip() if self.is_trimmed_left else content
        return content.rstrip() if self.is_trimmed_right else content


Part = str | ContentSlot


@dataclass(frozen=True)
class Rendered:
    """What a template wrote for one list of roles."""

    body: tuple[Part, ...]
    """Up to the last content."""
    ending: str
    """Behind the last content."""


class ChatTemplate:
    """One compiled template.

    Raises:
        InvalidModel: the template is not valid Jinja.
    """

    def __init__(self, source: str, named_tokens: dict[str, str]):
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        self._named_tokens = named_tokens
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise _invalid(f"is not valid: {error}") from error

    def render(
        self,
        roles: Sequence[str],
        clock: Callable[[], datetime],
        add_generation_prompt: bool,
    ) -> Rendered:
        """Return what the template writes around the contents of messages with these roles.

        Raises:
            InputError: the template says that these roles in this order are not allowed.
            InvalidModel: the template fails, or drops, repeats or changes a content.
        """
        contents = [f"{_PROBE}{_OPEN}{i}{_CLOSE}{_PROBE}" for i in range(len(roles))]
        messages = [
            {"role": role, "content": content}
            for role, content in zip(roles, contents, strict=True)
        ]
        text = self._run(messages, clock, add_generation_prompt)
        rendered = _split(text)
        found = sorted(part.message for part in rendered.body if isinstance(part, ContentSlot))
        written = [part for part in (*rendered.body, rendered.ending) if isinstance(part, str)]
        if found != list(range(len(roles))) or any(_OPEN in part for part in written):
            raise _invalid("drops, repeats or changes the content of a message")
        return rendered

    def _run(
        self, messages: list[dict[str, str]], clock: Callable[[], datetime], prompt: bool
    ) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=prompt,
                strftime_now=lambda form: clock().strftime(form),
                **self._named_tokens,
            )
        except _RaisedByTemplate as error:
            raise InputError(
                f"The model's chat template refuses these messages: {error}.", field="messages"
            ) from error
        except Exception as error:  # a template is foreign code and may raise anything
            raise _invalid(f"fails: {error}") from error


class _RaisedByTemplate(TemplateError):
    """A template called ``raise_exception``."""


class _GenerationBlock(Extension):
    """Accepts ``{% generation %}``, which marks text for training and changes none."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _split(text: str) -> Rendered:
    body: list[Part] = []
    done = 0
    for match in _PLACEHOLDER.finditer(text):
        left, number, right = match.groups()
        body += [text[done : match.start()], ContentSlot(int(number), not left, not right)]
        done = match.end()
    return Rendered(tuple(body), text[done:])


def _raise(message: str) -> NoReturn:
    raise _RaisedByTemplate(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _invalid(reason: str) -> InvalidModel:
    return InvalidModel(
        f"The model's chat template {reason}.",
        field="chat_template",
        remedy="Put a chat_template.jinja that only places contents beside the tokenizer.",
    )
