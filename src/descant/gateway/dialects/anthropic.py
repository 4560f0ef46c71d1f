"""Anthropic's messages, spoken as OpenAI's chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from descant.gateway.call import Call
from descant.gateway.dialects.anthropic_answer import chat_answer
from descant.gateway.dialects.anthropic_request import message_request
from descant.gateway.dialects.anthropic_stream import AnthropicStream
from descant.gateway.dialects.dialect import Answered, StreamReader, UpstreamRequest
from descant.gateway.dialects.document import TooDeep, dump
from descant.gateway.dialects.openai import request_headers
from descant.gateway.dialects.refusal import Secrets, refusal_body
from descant.schema.errors import InputError, UnsupportedField

_VERSION = "2023-06-01"


@dataclass(frozen=True)
class AnthropicDialect:
    """Translates both ways; there is chat only."""

    base_path: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Secrets
    clock: Callable[[], float]
    """The time of day in seconds, for answers, which come without one."""

    def request(self, call: Call, model: str) -> UpstreamRequest:
        """Return the request; every field of the call is in it, or is refused by name."""
        if call.operation != "chat":
            raise UnsupportedField(f"This upstream answers no {call.operation}.", field="model")
        try:
            body = dump(message_request(call, model))
        except TooDeep as error:
            raise InputError("The request is nested too deeply.") from error
        headers = request_headers(call, {"anthropic-version": _VERSION, **self.headers})
        return UpstreamRequest("POST", f"{self.base_path}/v1/messages", headers, body)

    def answer(self, call: Call, body: bytes) -> Answered:
        """Return a whole message as a chat completion."""
        del call
        return chat_answer(body, int(self.clock()))

    def stream(self, call: Call) -> StreamReader:
        """Return a reader that writes chunks."""
        return AnthropicStream(call, self.secrets, int(self.clock()))

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the refusal in OpenAI's words, without the upstream's secrets."""
        del headers
        return refusal_body(status, body, self.secrets)
