"""``GET /v1/models``: the base model and its adapters, as OpenAI's API lists models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from descant.server.engine_thread import ScoringModel


def models_router(model: ScoringModel, created: int) -> APIRouter:
    """Return the route that lists models; `created` is seconds since 1970."""
    router = APIRouter()

    @router.get("/v1/models", summary="The base model and its adapters")
    async def list_models() -> dict[str, Any]:
        base = _card(model.model_name, created, parent=None, content_hash=model.base_hash)
        adapters = [
            _card(adapter.name, created, model.model_name, adapter.content_hash)
            for adapter in model.adapters()
        ]
        return {"object": "list", "data": [base, *adapters]}

    return router


def _card(name: str, created: int, parent: str | None, content_hash: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "descant",
        "root": name,
        "parent": parent,
        "content_hash": content_hash,
    }
