from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Body, FastAPI, Request
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry

from descant.monitoring import Metrics
from descant.server.batches.app_answer import answers_from
from descant.server.batches.batch_runner import BatchConfig
from descant.server.batches.batch_service import batch_service
from descant.server.errors import add_error_handlers
from descant.server.keys import KeyCheck, Keys, identify
from descant.server.request_context import RequestContext
from tests.server.batch_app import create, ended, lines_of, request_line


def small_app() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/scores")
    async def double(number: Annotated[int, Body(embed=True)]) -> dict[str, int]:
        return {"double": 2 * number}

    add_error_handlers(app)
    return app


def put_around(app: FastAPI) -> None:
    app.add_middleware(KeyCheck, keys=None)
    app.add_middleware(
        RequestContext,
        metrics=Metrics(CollectorRegistry(), "tiny"),
        request_log=None,
        max_request_bytes=10_000,
        clock=time.perf_counter,
        streamed_bytes={"/v1/files": 100_000},
    )


def test_the_server_answers_itself_as_it_answers_others() -> None:
    async def exchange() -> None:
        app = small_app()
        put_around(app)
        answer = answers_from(app, None)("anyone")
        assert await answer("/v1/scores", b'{"number": 3}') == (200, b'{"double":6}')
        status, sent = await answer("/v1/scores", b"{}")
        assert (status, json.loads(sent)["error"]["param"]) == (400, "number")
        status, sent = await answer("/v1/scores", b" " * 20_000)
        assert (status, json.loads(sent)["error"]["code"]) == (413, "request_too_large")

    asyncio.run(exchange())


def test_a_batch_is_answered_by_the_app_it_was_sent_to(tmp_path: Path) -> None:
    async def exchange() -> None:
        app = small_app()
        app.include_router(batch_service(BatchConfig(tmp_path), answers_from(app, None)))
        put_around(app)
        lines = [request_line(number) for number in range(5)] + [request_line(5, body={})]
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                done = await ended(client, await create(client, *lines))
                assert done["request_counts"] == {"total": 6, "completed": 5, "failed": 1}
                doubled = {
                    line["custom_id"]: line["response"]["body"]["double"]
                    for line in await lines_of(client, done["output_file_id"])
                }
        assert doubled == {f"r{number}": 2 * number for number in range(5)}

    asyncio.run(exchange())


def test_lines_are_answered_in_the_name_of_their_caller(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    path.write_text(f'[[keys]]\nname = "ann"\nsha256 = "{digest}"\ntenant = "quality"\n')
    app = FastAPI()

    @app.post("/v1/scores")
    async def who(request: Request) -> dict[str, str]:
        return {"tenant": identify(request).tenant}

    async def exchange() -> None:
        keys = Keys(path)
        app.add_middleware(KeyCheck, keys=keys)
        answer_for = answers_from(app, keys)
        assert await answer_for("ann")("/v1/scores", b"{}") == (200, b'{"tenant":"quality"}')
        status, sent = await answer_for("gone")("/v1/scores", b"{}")
        assert (status, json.loads(sent)["error"]["code"]) == (401, "missing_api_key")

    asyncio.run(exchange())


def test_an_answer_in_pieces_is_put_together() -> None:
    app = FastAPI()

    @app.post("/v1/scores")
    async def pieces() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for piece in (b"[1", b", 2]"):
                await asyncio.sleep(0)
                yield piece

        return StreamingResponse(body())

    async def exchange() -> None:
        async with asyncio.timeout(20):
            assert await answers_from(app, None)("a")("/v1/scores", b"") == (200, b"[1, 2]")

    asyncio.run(exchange())
