"""Adapters of a running server: load and unload in vLLM's form, and a list with what each takes."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import Field

from descant.schema.errors import InputError
from descant.server.body import Body, Text
from descant.server.keys import identify
from descant.server.service import Service


class LoadBody(Body):
    """An adapter to be served."""

    lora_name: Text = Field(min_length=1)
    lora_path: Text = Field(min_length=1)
    load_inplace: bool = Field(
        False, description="Let a name that is taken mean this adapter from now on."
    )
    pinned: bool = Field(False, description="Keep it in memory.")


class UnloadBody(Body):
    """An adapter, or one version of it, to be served no longer."""

    lora_name: Text = Field(min_length=1)


def adapters_router(service: Service) -> APIRouter:
    """Return the routes that manage adapters."""
    router = APIRouter()
    library = service.llm.library

    def load(body: LoadBody) -> str:
        if body.lora_name == service.llm.model_name:
            raise InputError("This is the name of the base model.", field="lora_name")
        known = {entry.name for entry in library.list()}
        change = (
            library.replace if body.load_inplace and body.lora_name in known else library.register
        )
        version = change(body.lora_name, body.lora_path).version
        if body.pinned:
            library.pin(body.lora_name)
        return f"Success: LoRA adapter '{body.lora_name}' added successfully as {version}."

    @router.post("/v1/load_lora_adapter", summary="Serve an adapter from a folder")
    async def load_lora_adapter(body: LoadBody, request: Request) -> PlainTextResponse:
        identify(request).check_model(body.lora_name)
        return PlainTextResponse(await asyncio.to_thread(load, body))

    @router.post("/v1/unload_lora_adapter", summary="Serve an adapter no longer")
    async def unload_lora_adapter(body: UnloadBody, request: Request) -> PlainTextResponse:
        identify(request).check_model(body.lora_name)
        await asyncio.to_thread(library.unregister, body.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    @router.get("/v1/adapters", summary="Every version of every adapter, and what it takes")
    async def list_adapters(request: Request) -> dict[str, Any]:
        caller = identify(request)
        entries = [entry for entry in library.list() if caller.may_use(entry.name)]
        now_s = library.now_s()
        return {
            "object": "list",
            "data": [
                {
                    "name": entry.name,
                    "content_hash": entry.version,
                    "release": entry.release,
                    "is_current": entry.is_current,
                    "state": entry.state,
                    "host_bytes": entry.host_bytes,
                    "unused_s": None if entry.last_used_s is None else now_s - entry.last_used_s,
                    "is_pinned": entry.is_pinned,
                    "labels": entry.labels,
                    "calibration": entry.calibration and entry.calibration.method,
                }
                for entry in entries
            ],
        }

    return router
