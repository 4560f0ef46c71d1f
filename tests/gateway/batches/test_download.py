"""A file's bytes on their way to a caller, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from descant.gateway.batches import Download, ModelUsage, Stalled, download
from descant.gateway.call import Usage
from descant.schema.errors import UpstreamFailed

pytestmark = pytest.mark.anyio


def answered(model: str | None, read: int, written: int) -> dict[str, Any]:
    usage = {"prompt_tokens": read, "completion_tokens": written}
    body = {"usage": usage} if model is None else {"model": model, "usage": usage}
    return {"custom_id": "r", "response": {"status_code": 200, "body": body}, "error": None}


LINES: list[Any] = [
    answered("polite", 5, 2),
    {"custom_id": "r", "response": None, "error": {"code": "x"}},
    answered("mood", 7, 0),
    answered("polite", 3, 1),
    "no object",
]
CONTENT = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
FOUND = [ModelUsage("polite", Usage(8, 3)), ModelUsage("mood", Usage(7, 0))]


@asynccontextmanager
async def file(content: bytes, *, length: int | None = None) -> AsyncIterator[Download]:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(length or len(content))})
        await response.prepare(request)
        for start in range(0, len(content), 50):
            await response.write(content[start : start + 50])
        if length is not None and request.transport is not None:
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession() as client:
            yield Download("file-1", await client.get(f"http://{host}:{port}/"))
    finally:
        await runner.cleanup()


async def test_bytes_pass_as_they_are_and_are_counted() -> None:
    taken = bytearray()

    async def give(piece: bytes) -> None:
        taken.extend(piece)

    async with file(CONTENT) as one:
        assert one.length == str(len(CONTENT))
        assert await one.pass_on(give) == FOUND
    assert bytes(taken) == CONTENT


async def test_who_stalls_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.05)

    async def give(_: bytes) -> None:
        await asyncio.Event().wait()

    async with file(CONTENT) as one:
        with pytest.raises(Stalled) as stalled:
            await one.pass_on(give)
    assert stalled.value.found == FOUND


async def test_of_a_file_that_breaks_off_nothing_is_known() -> None:
    async def give(_: bytes) -> None: ...

    async with file(CONTENT, length=len(CONTENT) + 100) as one:
        with pytest.raises(UpstreamFailed):
            await one.pass_on(give)


async def test_a_file_of_questions_took_nothing() -> None:
    async def give(_: bytes) -> None: ...

    line = {"custom_id": "r", "method": "POST", "url": "/v1/scores", "body": {"usage": {}}}
    async with file(json.dumps(line).encode()) as one:
        assert await one.pass_on(give) == []
