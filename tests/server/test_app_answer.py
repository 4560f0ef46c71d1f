from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from descant.server import create_app
from descant.server.app_answer import answers_from
from descant.server.batch_runner import BatchConfig
from descant.server.batch_service import batch_service
from descant.server.keys import KeyCheck, Keys, identify
from tests.server.batch_app import create, ended, lines_of, request_line
from tests.server.fake_model import POLITE, UPSELL, FakeModel


def test_the_server_answers_itself_as_it_answers_others() -> None:
    async def exchange() -> None:
        app = create_app(FakeModel(), (POLITE, UPSELL))
        answer = answers_from(app, None)("anyone")
        body = {"conversation": {"turns": [{"speaker": "agent", "text": "Good morning"}]}}
        async with app.router.lifespan_context(app):
            status, sent = await answer("/v1/scores", json.dumps(body).encode())
            assert status == 200
            assert json.loads(sent)["answers"][0]["label"] == "yes"
            status, sent = await answer("/v1/scores", b"{}")
            assert (status, json.loads(sent)["error"]["param"]) == (400, "conversation")

    asyncio.run(exchange())


def test_a_batch_of_conversations_is_scored_by_the_app_itself(tmp_path: Path) -> None:
    async def exchange() -> None:
        model = FakeModel()
        app = create_app(model, (POLITE,))
        app.include_router(batch_service(BatchConfig(tmp_path), answers_from(app, None)))
        app.add_middleware(KeyCheck, keys=None)
        conversation = {"turns": [{"speaker": "agent", "text": "Good morning"}]}
        lines = [request_line(n, body={"conversation": conversation}) for n in range(5)]
        lines.append(request_line(5, body={"conversation": {}}))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                done = await ended(client, await create(client, *lines))
                assert done["request_counts"] == {"total": 6, "completed": 5, "failed": 1}
                for line in await lines_of(client, done["output_file_id"]):
                    (answer,) = line["response"]["body"]["answers"]
                    assert answer["label"] == "yes"
        assert len(model.seen) == 5

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
