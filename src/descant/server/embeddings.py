"""``POST /v1/embeddings``: the mean of the base model's last hidden states, scaled to length 1.

The base model was not trained for this; the vectors serve to group and to find near-duplicates, and
are marked as what they are.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from descant.engine import EmbedRequest, EmbedResult
from descant.schema.errors import InputError
from descant.server.body import Body, Text
from descant.server.generations import together, unless_gone
from descant.server.keys import identify
from descant.server.prompts import TokenIds, as_list, to_token_ids
from descant.server.service import Service


class EmbeddingBody(Body):
    """Texts to represent."""

    model: Text
    input: Text | TokenIds | Annotated[list[Text | TokenIds], Field(min_length=1, max_length=256)]
    encoding_format: Literal["float", "base64"] = "float"
    priority: int = Field(0, ge=-100, le=100)


def embeddings_router(service: Service) -> APIRouter:
    """Return the route of embeddings."""
    router = APIRouter()

    @router.post("/v1/embeddings", summary="Represent texts by vectors")
    async def create_embeddings(body: EmbeddingBody, request: Request) -> dict[str, Any]:
        caller = identify(request)
        caller.check_model(body.model)
        if body.model != service.llm.model_name:
            raise InputError(
                "Embeddings come from the base model.", field="model", remedy="Name the base."
            )
        priority = caller.priority(body.priority)
        rows = await asyncio.to_thread(
            lambda: [to_token_ids(service.llm, text, "input") for text in as_list(body.input)]
        )
        requests = [EmbedRequest(row, priority) for row in rows]
        results = await unless_gone(request, together(map(service.engine.embed, requests)))
        num_tokens = sum(map(len, rows))
        request.state.usage = {"tokens_read": num_tokens}
        return {
            "object": "list",
            "data": [_embedding(index, r, body) for index, r in enumerate(results)],
            "model": body.model,
            "pooling": "mean-of-base-hidden-states",
            "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        }

    return router


def _embedding(index: int, result: EmbedResult, body: EmbeddingBody) -> dict[str, Any]:
    vector: list[float] | str = result.vector.tolist()
    if body.encoding_format == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return {"object": "embedding", "index": index, "embedding": vector}
