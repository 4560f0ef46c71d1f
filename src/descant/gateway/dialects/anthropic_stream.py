"""A stream of Anthropic's events, from its words to OpenAI's chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from descant.gateway.call import Call, Usage
from descant.gateway.dialects.anthropic_usage import FINISH_REASONS, message_usage
from descant.gateway.dialects.document import dump, object_in, text_in
from descant.gateway.dialects.event_lines import Event
from descant.gateway.dialects.event_stream import EventStream
from descant.gateway.dialects.openai_usage import usage_object
from descant.gateway.dialects.refusal import Secrets
from descant.gateway.dialects.stream_failure import GARBLED

_STILL_THERE = b": ping\n\n"


class AnthropicStream(EventStream):
    """Writes a chunk for each event that has something to say."""

    def __init__(self, call: Call, secrets: Secrets, created_s: int):
        super().__init__(call, secrets)
        self._created_s = created_s
        self._message: dict[str, Any] | None = None
        self._counts: dict[str, Any] = {}
        self._tools: dict[int, _ToolCall] = {}

    @property
    def usage(self) -> Usage | None:
        """What was said so far: the prompt at the beginning, what was written with the end."""
        return message_usage(self._counts)

    def _read(self, event: Event) -> bytes:
        said = self._object(event.data) if event.data else None
        if said is None:
            return b""
        kind = text_in(said, "type")
        if kind == "ping":
            return _STILL_THERE
        if kind == "message_start":
            return self._start(said)
        read = _READERS.get(kind)
        if read is None:  # New kinds of events may come at any time, and are to be passed over.
            return b""
        if self._message is None:
            self.failure = GARBLED
            return b""
        return read(self, said)

    def _start(self, event: dict[str, Any]) -> bytes:
        self._message = object_in(event, "message")
        self._counts.update(object_in(self._message, "usage"))
        return self._chunk({"role": "assistant", "content": ""})

    def _block_start(self, event: dict[str, Any]) -> bytes:
        block = object_in(event, "content_block")
        if block.get("type") == "text" and text_in(block, "text"):
            return self._chunk({"content": text_in(block, "text")})
        if block.get("type") != "tool_use":
            return b""
        tool = _ToolCall(len(self._tools))
        self._tools[_place(event)] = tool
        function = {"name": text_in(block, "name"), "arguments": ""}
        opened = {"id": text_in(block, "id"), "type": "function", "function": function}
        return self._chunk({"tool_calls": [{"index": tool.number, **opened}]})

    def _block_delta(self, event: dict[str, Any]) -> bytes:
        delta = object_in(event, "delta")
        if delta.get("type") == "text_delta":
            return self._chunk({"content": text_in(delta, "text")})
        tool = self._tools.get(_place(event))
        if delta.get("type") != "input_json_delta" or tool is None:
            return b""
        return self._arguments(tool, text_in(delta, "partial_json"))

    def _block_stop(self, event: dict[str, Any]) -> bytes:
        tool = self._tools.get(_place(event))
        # A tool without arguments has no deltas; callers parse what they joined.
        return b"" if tool is None or tool.has_arguments else self._arguments(tool, "{}")

    def _arguments(self, tool: _ToolCall, text: str) -> bytes:
        if not text:
            return b""
        tool.has_arguments = True
        return self._chunk(
            {"tool_calls": [{"index": tool.number, "function": {"arguments": text}}]}
        )

    def _message_delta(self, event: dict[str, Any]) -> bytes:
        self._counts.update(object_in(event, "usage"))
        reason = object_in(event, "delta").get("stop_reason")
        if not isinstance(reason, str):
            return b""
        return self._chunk({}, FINISH_REASONS.get(reason, "stop"))

    def _message_stop(self, event: dict[str, Any]) -> bytes:
        del event
        self.is_complete = True
        usage = self.usage
        last = b"data: [DONE]\n\n"
        if usage is None or not self._shows_usage:
            return last
        return _line({**self._frame(), "choices": [], "usage": usage_object(usage)}) + last

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _line({**self._frame(), "choices": [choice]})

    def _frame(self) -> dict[str, Any]:
        message = self._message or {}
        return {
            "id": text_in(message, "id"),
            "object": "chat.completion.chunk",
            "created": self._created_s,
            "model": text_in(message, "model"),
        }


class _ToolCall:
    """One that is being written."""

    def __init__(self, number: int):
        self.number = number
        self.has_arguments = False


_READERS: Mapping[str, Callable[[AnthropicStream, dict[str, Any]], bytes]] = {
    "content_block_start": AnthropicStream._block_start,
    "content_block_delta": AnthropicStream._block_delta,
    "content_block_stop": AnthropicStream._block_stop,
    "message_delta": AnthropicStream._message_delta,
    "message_stop": AnthropicStream._message_stop,
}


def _place(event: dict[str, Any]) -> int:
    """Return which block of the message this is about."""
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _line(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + dump(chunk) + b"\n\n"
