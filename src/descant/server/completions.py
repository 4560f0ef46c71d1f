"""``POST /v1/completions``: plain text, or token ids, continued as they are."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.responses import Response

from descant.server.body import Text
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
    together,
    unless_gone,
)
from descant.server.keys import Caller, identify
from descant.server.prompts import TokenIds, as_list, to_token_ids
from descant.server.service import Service
from descant.server.sse import stream_events
from descant.server.text_stream import TextStream, TokenText


class CompletionBody(GenerationFields):
    """A text to continue."""

    prompt: Text | TokenIds | Annotated[list[Text | TokenIds], Field(min_length=1, max_length=64)]
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=20)


def completions_router(service: Service) -> APIRouter:
    """Return the route of completions."""
    router = APIRouter()

    @router.post("/v1/completions", summary="Continue a text", response_model=None)
    async def create_completion(body: CompletionBody, request: Request) -> Response:
        caller = identify(request)
        asked = await unless_gone(request, asyncio.to_thread(_prepare, service, body, caller))
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": service.created_now(),
            "model": body.model,
        }
        if body.stream:
            return await stream_events(_chunks(service, body, request, asked, head))
        groups = await unless_gone(
            request, together(finish_texts(service, prompt, texts) for prompt, texts in asked)
        )
        choices = [choice for group in groups for choice in group]
        usage = TokenUsage.of(asked)
        request.state.usage = usage.for_log()
        listed = [_choice(body, index, choice) for index, choice in enumerate(choices)]
        return JSONResponse({**head, "choices": listed, "usage": usage.to_json()})

    return router


def _prepare(
    service: Service, body: CompletionBody, caller: Caller
) -> list[tuple[Prompt, list[TextStream]]]:
    adapter = choose_adapter(service, body, caller)
    grammar = choose_grammar(service, body)
    asked = []
    for text in as_list(body.prompt):
        token_ids = to_token_ids(service.llm, text, "prompt")
        prompt = Prompt(token_ids, adapter, body.model, caller)
        texts = start_texts(service, body, prompt, body.max_tokens, body.logprobs, grammar)
        asked.append((prompt, texts))
    return asked


async def _chunks(
    service: Service,
    body: CompletionBody,
    request: Request,
    asked: Sequence[tuple[Prompt, list[TextStream]]],
    head: Mapping[str, Any],
) -> AsyncGenerator[Mapping[str, Any], None]:
    streams = [stream for _, texts in asked for stream in texts]
    lengths = [0] * len(streams)
    async for index, piece in merge_texts(service, asked[0][0], streams):
        logprobs = None if body.logprobs is None else _logprobs(piece.tokens, lengths[index])
        lengths[index] += sum(len(token.text) for token in piece.tokens)
        choice = {
            "index": index,
            "text": piece.text,
            "logprobs": logprobs,
            "finish_reason": piece.finish_reason,
        }
        yield {**head, "choices": [choice]}
    usage = TokenUsage.of(asked)
    request.state.usage = usage.for_log()
    if body.includes_usage:
        yield {**head, "choices": [], "usage": usage.to_json()}


def _choice(body: CompletionBody, index: int, choice: Choice) -> dict[str, Any]:
    return {
        "index": index,
        "text": choice.text,
        "logprobs": _logprobs(choice.tokens) if body.logprobs is not None else None,
        "finish_reason": choice.finish_reason,
    }


def _logprobs(tokens: Sequence[TokenText], length: int = 0) -> dict[str, Any]:
    """Return tokens in the form of completions; `length` is that of the text before them."""
    offsets = []
    for token in tokens:
        offsets.append(length)
        length += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.alternatives) for token in tokens],
        "text_offset": offsets,
    }
