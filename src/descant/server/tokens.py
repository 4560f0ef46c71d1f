"""``POST /tokenize`` and ``POST /detokenize``, in vLLM's form."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from descant.schema.errors import InputError
from descant.server.body import Body, Text
from descant.server.chat import ChatMessage
from descant.server.keys import identify
from descant.server.prompts import check_token_ids
from descant.server.service import Service


class TokenizeBody(Body):
    """A text or a chat."""

    model: Text | None = None
    prompt: Text | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1)
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeBody(Body):
    """Token ids."""

    model: Text | None = None
    tokens: list[int]


def tokens_router(service: Service) -> APIRouter:
    """Return the routes that turn text into token ids and back."""
    router = APIRouter()
    llm = service.llm

    @router.post("/tokenize", summary="Token ids of a text or a chat")
    async def tokenize(body: TokenizeBody, request: Request) -> dict[str, Any]:
        identify(request)
        ids = await asyncio.to_thread(_tokenize, service, body)
        strings = [llm.tokenizer.decode([i]) for i in ids] if body.return_token_strs else None
        return {
            "count": len(ids),
            "max_model_len": llm.max_positions,
            "tokens": ids,
            "token_strs": strings,
        }

    @router.post("/detokenize", summary="Text of token ids")
    async def detokenize(body: DetokenizeBody, request: Request) -> dict[str, str]:
        identify(request)
        check_token_ids(llm, body.tokens, "tokens")
        return {"prompt": await asyncio.to_thread(llm.tokenizer.decode, body.tokens)}

    return router


def _tokenize(service: Service, body: TokenizeBody) -> list[int]:
    if (body.prompt is None) == (body.messages is None):
        raise InputError("Send either prompt or messages.", field="prompt")
    if body.prompt is not None:
        return service.llm.tokenizer.encode(body.prompt)
    messages = [message.to_message() for message in body.messages or ()]
    return service.llm.renderer.render_chat(messages, body.add_generation_prompt)
