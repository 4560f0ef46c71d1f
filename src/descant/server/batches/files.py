"""``/v1/files``: files to make batches of and files that batches made, as OpenAI's API has them.

https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from descant.schema.errors import InputError
from descant.server.batches.file_store import Draft, FileStore, StoredFile
from descant.server.batches.pages import page
from descant.server.batches.upload import Form, Upload
from descant.server.keys import identify


def files_router(files: FileStore, in_use: Callable[[str], bool]) -> APIRouter:
    """Return the routes; a file that is `in_use` is not deleted."""
    router = APIRouter(prefix="/v1/files", tags=["files"])

    @router.post("", summary="Upload a file of batch requests", openapi_extra=_UPLOAD)
    async def create_file(request: Request) -> dict[str, Any]:
        with files.draft() as draft:
            form = await _receive(request, draft)
            file = files.publish(
                draft.folder,
                tenant=identify(request).tenant,
                filename=form.filename,
                purpose=_purpose(form),
            )
        return _card(file)

    @router.get("", summary="List files")
    async def list_files(
        request: Request,
        purpose: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    ) -> dict[str, Any]:
        found = files.of(identify(request).tenant)
        found = [file for file in found if purpose in (None, file.purpose)]
        ordered = found if order == "asc" else found[::-1]
        return page([_card(file) for file in ordered], after, limit)

    @router.get("/{file_id}", summary="Describe one file")
    async def get_file(file_id: str, request: Request) -> dict[str, Any]:
        return _card(files.get(file_id, identify(request).tenant))

    @router.get("/{file_id}/content", summary="Download one file", response_class=FileResponse)
    async def get_content(file_id: str, request: Request) -> FileResponse:
        file = files.get(file_id, identify(request).tenant)
        return FileResponse(files.content(file.id), media_type="application/jsonl")

    @router.delete("/{file_id}", summary="Delete one file")
    async def delete_file(file_id: str, request: Request) -> dict[str, Any]:
        file = files.get(file_id, identify(request).tenant)
        if in_use(file.id):
            raise HTTPException(409, "A batch that is not finished reads this file.")
        files.delete(file.id)
        return {"id": file.id, "object": "file", "deleted": True}

    return router


async def _receive(request: Request, draft: Draft) -> Form:
    upload = Upload(request.headers.get("content-type", ""), draft.write)
    # Disks wait; the event loop must not.
    async for data in request.stream():
        await asyncio.to_thread(upload.feed, data)
    await asyncio.to_thread(draft.sync)
    return upload.finish()


def _purpose(form: Form) -> str:
    unknown = sorted(set(form.fields) - {"purpose"})
    if unknown:
        raise InputError(f"Unknown field {unknown[0]!r}.", field=unknown[0])
    purpose = form.fields.get("purpose")
    if purpose != "batch":
        raise InputError(
            f"The purpose {purpose!r} is not known here.", field="purpose", remedy="Use 'batch'."
        )
    return purpose


def _card(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                    },
                }
            }
        },
    }
}
