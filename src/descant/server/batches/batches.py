"""``/v1/batches``: many requests in one file, answered when there is time, as OpenAI's API has them.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from descant.schema.errors import InputError
from descant.server.batches.batch_runner import BatchRunner
from descant.server.batches.batch_store import Batch, BatchStore
from descant.server.batches.file_store import FileStore
from descant.server.batches.pages import page
from descant.server.keys import identify

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/scores"]

_SHOWN_AS_THEY_ARE = (
    "id",
    "endpoint",
    "input_file_id",
    "status",
    "output_file_id",
    "error_file_id",
    "metadata",
    "created_at",
    "expires_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


class BatchBody(BaseModel):
    """One request for a batch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None


def batches_router(files: FileStore, batches: BatchStore, runner: BatchRunner) -> APIRouter:
    """Return the routes; `runner` works on what they create."""
    router = APIRouter(prefix="/v1/batches", tags=["batches"])

    @router.post("", summary="Answer every request of an uploaded file")
    async def create_batch(body: BatchBody, request: Request) -> dict[str, Any]:
        caller = identify(request)
        file = files.get(body.input_file_id, caller.tenant)
        if file.purpose != "batch":
            raise InputError(
                f"The file {file.id} is not for a batch.",
                field="input_file_id",
                remedy="Upload one with the purpose 'batch'.",
            )
        batch = batches.create(caller, body.endpoint, file.id, runner.window_s, body.metadata)
        runner.submit(batch.id)
        return _card(batch)

    @router.get("", summary="List batches, newest first")
    async def list_batches(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> dict[str, Any]:
        newest_first = batches.of(identify(request).tenant)[::-1]
        return page([_card(batch) for batch in newest_first], after, limit)

    @router.get("/{batch_id}", summary="Say how far a batch is")
    async def get_batch(batch_id: str, request: Request) -> dict[str, Any]:
        return _card(batches.find(batch_id, identify(request).tenant))

    @router.post("/{batch_id}/cancel", summary="Stop a batch; what is answered stays")
    async def cancel_batch(batch_id: str, request: Request) -> dict[str, Any]:
        batch = batches.find(batch_id, identify(request).tenant)
        if batch.status == "cancelling":
            return _card(batch)
        if batch.status not in ("validating", "in_progress") or batch.outcome is not None:
            raise HTTPException(409, f"A batch that is {batch.status} cannot be cancelled.")
        return _card(batches.set_status(batch.id, "cancelling"))

    return router


def _card(batch: Batch) -> dict[str, Any]:
    shown = {name: getattr(batch, name) for name in _SHOWN_AS_THEY_ARE}
    problems = [vars(problem) for problem in batch.problems]
    return {
        **shown,
        "object": "batch",
        "completion_window": "24h",
        "errors": {"object": "list", "data": problems} if problems else None,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
    }
