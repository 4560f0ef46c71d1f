"""``GET /v1/models``: the base model and its adapters, as OpenAI's API lists models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from descant.server.service import Service


def models_router(service: Service) -> APIRouter:
    """Return the route that lists models."""
    router = APIRouter()
    llm = service.llm

    @router.get("/v1/models", summary="The base model and its adapters")
    async def list_models() -> dict[str, Any]:
        base = _card(llm.model_name, service.created, parent=None, content_hash=llm.base_hash)
        adapters = [
            _card(entry.name, service.created, llm.model_name, entry.version)
            for entry in sorted(llm.library.list(), key=lambda entry: entry.name)
            if entry.is_current
        ]
        return {"object": "list", "data": [base, *adapters]}

    return router


def _card(name: str, created: int, parent: str | None, content_hash: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "descant",
        "root": name,
        "parent": parent,
        "content_hash": content_hash,
    }
