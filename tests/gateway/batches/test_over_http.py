"""Files and batches over HTTP, where the upstream or the caller is not as one would wish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from descant.gateway.ledger import Ledger
from tests.gateway.batches.test_upload_form import jsonl, request_line
from tests.gateway.running import SECRET, Running, read_lines, running, write_file

pytestmark = pytest.mark.anyio
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
BATCHES = '[batches]\nupstream = "u0"\nsecret_env = "TAGS"\nmax_upload_bytes = 2000\n'
CARD = {"id": "file-1", "object": "file", "filename": "in.jsonl", "purpose": "batch"}


@asynccontextmanager
async def before(
    folder: Path, answer: Answer, more: str = BATCHES, upstream: str = ""
) -> AsyncIterator[Running]:
    """A gateway before an upstream that answers everything in one way."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    path = write_file(folder, f"http://{host}:{port}", more=more)
    path.write_text(path.read_text().replace("priority = 0\n", f"priority = 0\n{upstream}"))
    try:
        async with running(path, TAGS="s" * 32) as gateway:
            yield gateway
    finally:
        await runner.cleanup()


async def accept(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response(CARD)


async def upload(gateway: Running, content: bytes) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("purpose", "batch")
    form.add_field("file", content, filename="in.jsonl")
    headers = {"authorization": f"Bearer {SECRET}"}
    url = f"{gateway.url}/v1/files"
    async with gateway.client.post(url, data=form, headers=headers) as response:
        return response.status, await response.json()


async def test_an_upload_without_end_is_refused(tmp_path: Path) -> None:
    async with before(tmp_path, accept) as gateway:
        status, said = await upload(gateway, jsonl(*[request_line()] * 3))
        assert (status, said["filename"]) == (200, "in.jsonl")
        assert said["id"].startswith("file-1-")
        status, said = await upload(gateway, jsonl(*[request_line()] * 30))
        assert (status, said["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("answered", "headers", "shown"),
    [
        (500, {}, 502),
        (401, {}, 502),
        (302, {"location": "http://127.0.0.1:1/"}, 502),
        (429, {"retry-after": "7"}, 429),
        (404, {}, 404),
    ],
)
async def test_what_the_upstream_says_instead(
    tmp_path: Path, answered: int, headers: dict[str, str], shown: int
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=answered, headers=headers, text="no")

    async with before(tmp_path, refuse) as gateway:
        status, _ = await upload(gateway, jsonl(request_line()))
        answer = await gateway.get("/v1/batches")
    assert (status, answer.status) == (shown, shown)
    assert answer.headers.get("retry-after") == headers.get("retry-after")
    assert "error" in answer.json


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"id": "../x"}', b'{"id": 3}'])
async def test_an_answer_that_is_none(tmp_path: Path, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body)

    async with before(tmp_path, answer) as gateway:
        status, said = await upload(gateway, jsonl(request_line()))
    assert (status, said["error"]["code"]) == (502, "garbled_answer")


async def test_who_may_not_and_where_there_is_nothing(tmp_path: Path) -> None:
    async with before(tmp_path, accept, BATCHES + 'keys = ["other-*"]\n') as gateway:
        assert (await gateway.get("/v1/files")).status == 403
    async with before(tmp_path, accept, "") as gateway:
        assert (await gateway.get("/v1/files")).status == 404
        assert (await gateway.post("/v1/batches", {})).status == 404
    async with before(tmp_path, accept, "requests_per_minute = 2\n" + BATCHES) as gateway:
        paths = ("/v1/files/x", "/v1/batches?limit=0", "/v1/files")
        assert [(await gateway.get(path)).status for path in paths] == [404, 400, 429]
    async with before(tmp_path, accept) as gateway:
        assert (await gateway.post("/v1/files/x", {})).status == 405
        assert (await gateway.get("/v1/files/x/y")).status == 404
        assert (await gateway.get("/v1/filesystem")).status == 404
        async with gateway.client.get(f"{gateway.url}/v1/files") as response:
            assert response.status == 401


async def test_azure_s_paths_and_statuses(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path_qs}")
        await request.read()
        if request.method == "DELETE":
            return web.Response(status=204)
        return web.json_response(CARD, status=201 if request.method == "POST" else 200)

    azure = 'dialect = "azure"\napi_version = "2024-10-21"\n'
    async with before(tmp_path, answer, upstream=azure) as gateway:
        status, card = await upload(gateway, jsonl(request_line()))
        headers = {"api-key": SECRET}
        url = f"{gateway.url}/openai/files/{card['id']}?api-version=1"
        async with gateway.client.delete(url, headers=headers) as response:
            assert (await response.json())["deleted"]
    assert status == 200
    assert seen == [
        "POST /openai/files?api-version=2024-10-21",
        "DELETE /openai/files/file-1?api-version=2024-10-21",
    ]


async def test_who_hangs_up_within_an_output_is_counted_once_all_the_same(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    body = {"model": "polite", "usage": usage, "choices": "x" * 1000}
    line = {"id": "l", "custom_id": "r", "response": {"status_code": 200, "body": body}}

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        is_content = request.path.endswith("/content")
        return web.Response(body=jsonl(line) * 8000) if is_content else web.json_response(CARD)

    books = f'[state]\nledger = "{tmp_path}/usage.sqlite"\n'
    async with before(tmp_path, answer, BATCHES + books) as gateway:
        _, card = await upload(gateway, jsonl(request_line()))
        url = f"{gateway.url}/v1/files/{card['id']}/content"
        headers = {"authorization": f"Bearer {SECRET}"}
        async with gateway.client.get(url, headers=headers) as response:
            await response.content.read(10)
            response.close()
        ledger = gateway.worker.lasting.ledger
        assert ledger is not None
        async with asyncio.timeout(20):
            while not (found := await flushed(ledger, tmp_path)):
                await asyncio.sleep(0.05)
        whole = await gateway.get(f"/v1/files/{card['id']}/content")
        again = await flushed(ledger, tmp_path)
    assert len(whole.body) == len(jsonl(line)) * 8000
    assert found == again
    [counted] = found
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (24_000, 16_000)
    assert (counted["operation"], counted["tenant"]) == ("batches", "quality")


async def flushed(ledger: Ledger, folder: Path) -> list[dict[str, Any]]:
    await asyncio.to_thread(ledger.flush)
    return read_lines(folder / "usage.sqlite")
