"""How long the parts of a prompt are, in bytes, and what an answer to it may take.

Bodies are what callers sent, so nothing here relies on their form: what is not understood counts by
its length as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

MEDIA_TOKENS = 1500
"""Set aside for an image, sound or file: its bytes say nothing of its tokens."""
_MESSAGE_TOKENS = 4
"""What a chat template puts around a message."""


class PromptSize:
    """Adds up what a prompt consists of."""

    __slots__ = ("fixed_tokens", "num_bytes")

    def __init__(self) -> None:
        self.num_bytes = 0
        """Of text."""
        self.fixed_tokens = 0
        """Known or assumed without looking at text."""

    def add_text(self, text: str) -> None:
        """Add a text by its length in UTF-8."""
        self.num_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))

    def add_json(self, value: object) -> None:
        """Add something by its length as JSON."""
        self.num_bytes += len(orjson.dumps(value))

    def add_message(self, message: object) -> None:
        """Add one message of a chat."""
        self.fixed_tokens += _MESSAGE_TOKENS
        if not isinstance(message, Mapping):
            self.add_json(message)
            return
        for name, value in message.items():
            if name == "content":
                self._add_content(value)
            elif name != "role" and value is not None:
                self.add_json(value)

    def add_input(self, value: object) -> None:
        """Add a prompt of completions or an input of embeddings: texts or token ids."""
        if isinstance(value, str):
            self.add_text(value)
        elif isinstance(value, list):
            if value and isinstance(value[0], int):
                self.fixed_tokens += len(value)
            else:
                for one in value:
                    self.add_input(one)
        elif value is not None:
            self.add_json(value)

    def _add_content(self, content: object) -> None:
        if isinstance(content, str):
            self.add_text(content)
        elif isinstance(content, list):
            for part in content:
                self._add_part(part)
        elif content is not None:
            self.add_json(content)

    def _add_part(self, part: object) -> None:
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            self.add_text(text)
        elif isinstance(part, Mapping) and str(part.get("type", "")).startswith(_MEDIA):
            self.fixed_tokens += MEDIA_TOKENS
        else:
            self.add_json(part)


_MEDIA = ("image", "input_image", "input_audio", "audio", "video", "file")


def prompt_size(body: Mapping[str, Any]) -> PromptSize:
    """Return the size of everything in a body that the model reads."""
    size = PromptSize()
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in messages:
            size.add_message(message)
    elif "prompt" in body or "input" in body:
        size.add_input(body.get("prompt"))
        size.add_input(body.get("input"))
    else:
        size.add_json(body)
    for value in schema_fields(body):
        size.add_json(value)
    return size


def schema_fields(body: Mapping[str, Any]) -> Iterable[object]:
    """Return the tools and schemas of a body, which become part of the prompt."""
    named = (body.get("tools"), body.get("functions"), body.get("response_format"))
    return [value for value in named if value]


def most_completion_tokens(body: Mapping[str, Any], default_tokens: int) -> int:
    """Return the most that may be written, all choices together; `default_tokens` a choice if unsaid."""
    if "messages" not in body and "prompt" not in body:
        return 0
    most = _count(body.get("max_completion_tokens")) or _count(body.get("max_tokens"))
    choices = max(_count(body.get("n")) or 1, _count(body.get("best_of")) or 1)
    return (most or default_tokens) * choices * _num_prompts(body.get("prompt"))


def _num_prompts(prompt: object) -> int:
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
