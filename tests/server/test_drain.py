from __future__ import annotations

import asyncio

import httpx
from fastapi import FastAPI

from descant.monitoring import Drain
from descant.server.drain import DrainGate, ready_router


def server(drain: Drain, gate: asyncio.Event, started: asyncio.Event) -> httpx.AsyncClient:
    app = FastAPI()

    @app.post("/v1/scores")
    async def score() -> str:
        started.set()
        await gate.wait()
        return "done"

    app.add_api_route("/health", lambda: "alive")
    app.include_router(ready_router(drain, lambda: True))
    app.add_middleware(DrainGate, drain=drain, retry_after_s=7)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_what_runs_finishes_and_nothing_new_begins() -> None:
    async def exchange() -> None:
        drain, gate, started = Drain(), asyncio.Event(), asyncio.Event()
        async with server(drain, gate, started) as client:
            ready = await client.get("/ready")
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            running = asyncio.create_task(client.post("/v1/scores"))
            await started.wait()
            assert not await drain.finish(timeout_s=0.01)
            ready = await client.get("/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
            assert (await client.get("/health")).status_code == 200
            refused = await client.post("/v1/scores")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
            error = refused.json()["error"]
            assert (error["type"], error["code"]) == ("server_error", "draining")
            waiting = asyncio.create_task(drain.finish(timeout_s=20))
            await asyncio.sleep(0)
            assert not waiting.done()
            gate.set()
            assert await waiting
            assert (await running).status_code == 200

    asyncio.run(exchange())


def test_an_idle_server_is_drained_at_once() -> None:
    async def exchange() -> None:
        drain = Drain()
        assert await drain.finish(timeout_s=20)
        assert drain.is_draining

    asyncio.run(exchange())


def test_a_request_that_fails_is_not_waited_for() -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("no")

    async def exchange() -> None:
        drain = Drain()
        scope = {"type": "http", "path": "/v1/scores"}
        try:
            await DrainGate(fail, drain)(scope, None, None)  # type: ignore[arg-type]
        except RuntimeError:
            assert await drain.finish(timeout_s=20)

    asyncio.run(exchange())
