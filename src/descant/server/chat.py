"""``POST /v1/chat/completions``, as OpenAI's API has it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.responses import Response

from descant.schema import Message
from descant.schema.errors import InputError
from descant.server.body import Body, Text
from descant.server.generation_fields import GenerationFields
from descant.server.generations import (
    Choice,
    Prompt,
    TokenUsage,
    choose_adapter,
    choose_grammar,
    finish_texts,
    merge_texts,
    start_texts,
    unless_gone,
)
from descant.server.keys import Caller, identify
from descant.server.service import Service
from descant.server.sse import stream_events
from descant.server.text_stream import TextStream, TokenText
from descant.server.tools import (
    ToolBody,
    ToolChoice,
    call_text,
    is_forced,
    offered_tools,
    parse_call,
    tools_text,
)


class ContentPart(Body):
    """A piece of a message."""

    type: Literal["text"]
    text: Text


class CalledFunction(Body):
    """What an earlier answer called."""

    name: Text
    arguments: Text


class ToolCall(Body):
    """An earlier answer that was a call."""

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: Text | None = None

    def to_message(self) -> Message:
        """Return the message in the words of the other rooms.

        Raises:
            InputError: it says nothing.
        """
        if self.tool_calls:
            calls = [
                call_text(call.function.name, call.function.arguments) for call in self.tool_calls
            ]
            return Message("assistant", "\n".join(calls))
        if self.content is None:
            raise InputError("A message has no content.", field="messages")
        text = (
            self.content
            if isinstance(self.content, str)
            else "".join(part.text for part in self.content)
        )
        return Message("system" if self.role == "developer" else self.role, text)


class ChatBody(GenerationFields):
    """A chat to continue."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = Field(None, description="At most one call is made.")

    @property
    def num_logprobs(self) -> int | None:
        """How many alternatives each token reports."""
        if self.top_logprobs and not self.logprobs:
            raise InputError("top_logprobs needs logprobs.", field="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


def chat_router(service: Service) -> APIRouter:
    """Return the route of chats."""
    router = APIRouter()

    @router.post("/v1/chat/completions", summary="Continue a chat", response_model=None)
    async def create_chat_completion(body: ChatBody, request: Request) -> Response:
        caller = identify(request)
        prompt, streams = await unless_gone(
            request, asyncio.to_thread(_prepare, service, body, caller)
        )
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": service.created_now(),
            "model": body.model,
        }
        if body.stream:
            return await stream_events(_chunks(service, body, request, prompt, streams, head))
        choices = await unless_gone(request, finish_texts(service, prompt, streams))
        usage = TokenUsage.of([(prompt, streams)])
        request.state.usage = usage.for_log()
        return JSONResponse(
            {
                **head,
                "object": "chat.completion",
                "choices": [_choice(body, index, choice) for index, choice in enumerate(choices)],
                "usage": usage.to_json(),
            }
        )

    return router


def _prepare(service: Service, body: ChatBody, caller: Caller) -> tuple[Prompt, list[TextStream]]:
    tools = offered_tools(body.tools or [], body.tool_choice)
    messages = _with_tools([message.to_message() for message in body.messages], tools)
    token_ids = tuple(service.llm.renderer.render_chat(messages))
    prompt = Prompt(token_ids, choose_adapter(service, body, caller), body.model, caller)
    grammar = choose_grammar(service, body)
    if is_forced(body.tool_choice):
        if grammar is not None:
            raise InputError("A call that is forced has its own form.", field="tool_choice")
        described = [tool.model_dump(exclude_none=True) for tool in tools]
        grammar = service.grammars.tools(described, field="tools")
    max_tokens = body.max_completion_tokens or body.max_tokens
    return prompt, start_texts(service, body, prompt, max_tokens, body.num_logprobs, grammar)


def _with_tools(messages: Sequence[Message], tools: Sequence[ToolBody]) -> list[Message]:
    if not tools:
        return list(messages)
    told = tools_text(tools)
    if messages[0].role != "system":
        return [Message("system", told), *messages]
    return [Message("system", f"{messages[0].content}\n\n{told}"), *messages[1:]]


def _choice(body: ChatBody, index: int, choice: Choice) -> dict[str, Any]:
    message, reason = _message(body, choice.text, choice.finish_reason)
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(choice.tokens) if body.logprobs else None,
        "finish_reason": reason,
    }


def _message(body: ChatBody, text: str, reason: str) -> tuple[dict[str, Any], str]:
    call = parse_call(text, offered_tools(body.tools or [], body.tool_choice))
    if call is None:
        return {"role": "assistant", "content": text}, reason
    # OpenAI ends a call of a named function with "stop".
    ended = "tool_calls" if body.tool_choice in (None, "auto", "required") else "stop"
    return {"role": "assistant", "content": None, "tool_calls": [call]}, ended


async def _chunks(
    service: Service,
    body: ChatBody,
    request: Request,
    prompt: Prompt,
    streams: Sequence[TextStream],
    head: Mapping[str, Any],
) -> AsyncGenerator[Mapping[str, Any], None]:
    common = {**head, "object": "chat.completion.chunk"}
    texts = [""] * len(streams)
    has_begun = [False] * len(streams)
    async for index, piece in merge_texts(service, prompt, streams):
        if not has_begun[index]:
            has_begun[index] = True
            yield _chunk(common, index, {"role": "assistant", "content": ""})
        texts[index] += piece.text
        # With tools it is known at the end only whether the text is a call.
        delta = {} if body.tools else ({"content": piece.text} if piece.text else {})
        reason = piece.finish_reason
        if reason is not None and body.tools:
            message, reason = _message(body, texts[index], reason)
            delta = _call_delta(message)
        if delta or piece.tokens or reason is not None:
            logprobs = _logprobs(piece.tokens) if body.logprobs else None
            yield _chunk(common, index, delta, reason, logprobs)
    usage = TokenUsage.of([(prompt, streams)])
    request.state.usage = usage.for_log()
    if body.includes_usage:
        yield {**common, "choices": [], "usage": usage.to_json()}


def _chunk(
    common: Mapping[str, Any],
    index: int,
    delta: Mapping[str, Any],
    reason: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    return {**common, "choices": [choice]}


def _call_delta(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if calls is None:
        return {"content": message["content"]}
    return {"tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]}


def _logprobs(tokens: Sequence[TokenText]) -> dict[str, Any]:
    return {
        "content": [
            {
                **_logprob(token.text, token.logprob),
                "top_logprobs": [_logprob(*alternative) for alternative in token.alternatives],
            }
            for token in tokens
        ]
    }


def _logprob(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
