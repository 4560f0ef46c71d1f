"""An app with files and batches only, its callers, and what answers the lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from descant.monitoring import Metrics
from descant.server.batches.batch_runner import Answer, BatchConfig
from descant.server.batches.batch_service import batch_service
from descant.server.errors import add_error_handlers
from descant.server.keys import KeyCheck, Keys
from descant.server.request_context import RequestContext

SCORES = "/v1/scores"
ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass
class Clock:
    """Time that passes only when someone sleeps or a test says so."""

    now_s: float = 1_700_000_000.0
    slept_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, time_s: float) -> None:
        self.slept_s.append(time_s)
        self.now_s += time_s
        await asyncio.sleep(0)


def request_line(number: int, **changes: Any) -> dict[str, Any]:
    body = {"number": number}
    return {"custom_id": f"r{number}", "method": "POST", "url": SCORES, "body": body, **changes}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def echo(url: str, body: bytes) -> tuple[int, bytes]:
    await asyncio.sleep(0)
    return 200, json.dumps({"url": url, "got": json.loads(body)}).encode()


class BatchServer:
    """The app in this process; each `client()` is one life of the server on the same folder."""

    def __init__(self, folder: Path, keys: Keys | None = None, **config: Any):
        self.folder = folder
        self.keys = keys
        self.config = BatchConfig(folder, **config)
        self.clock = Clock()
        self.callers: list[str] = []

    @asynccontextmanager
    async def client(
        self, answer: Answer = echo, sleep: Callable[[float], Awaitable[None]] | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        def answer_for(caller: str) -> Answer:
            self.callers.append(caller)
            return answer

        app = FastAPI()
        app.include_router(
            batch_service(
                self.config, answer_for, clock=self.clock, sleep=sleep or self.clock.sleep
            )
        )
        add_error_handlers(app)
        app.add_middleware(KeyCheck, keys=self.keys)
        app.add_middleware(
            RequestContext,
            metrics=Metrics(CollectorRegistry(), "tiny"),
            request_log=None,
            max_request_bytes=10_000,
            clock=self.clock,
            streamed_bytes={"/v1/files": self.config.max_upload_bytes},
        )
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client


async def upload(client: httpx.AsyncClient, content: bytes, **arguments: Any) -> dict[str, Any]:
    response = await client.post(
        "/v1/files",
        files={"file": ("in.jsonl", content)},
        data={"purpose": "batch"},
        **arguments,
    )
    assert response.status_code == 200, response.text
    card: dict[str, Any] = response.json()
    return card


async def create(client: httpx.AsyncClient, *lines: dict[str, Any], **body: Any) -> dict[str, Any]:
    file = await upload(client, jsonl(*lines))
    asked = {"input_file_id": file["id"], "endpoint": SCORES, "completion_window": "24h", **body}
    response = await client.post("/v1/batches", json=asked)
    assert response.status_code == 200, response.text
    card: dict[str, Any] = response.json()
    return card


async def state(client: httpx.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    card: dict[str, Any] = (await client.get(f"/v1/batches/{batch['id']}")).json()
    return card


async def until(
    client: httpx.AsyncClient, batch: dict[str, Any], is_so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask again until it is so, as callers do: the API has no other way to wait."""
    async with asyncio.timeout(20):
        while not is_so(card := await state(client, batch)):
            await asyncio.sleep(0.002)
    return card


async def ended(client: httpx.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    return await until(client, batch, lambda card: card["status"] in ENDED)


async def lines_of(client: httpx.AsyncClient, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    response = await client.get(f"/v1/files/{file_id}/content")
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]
