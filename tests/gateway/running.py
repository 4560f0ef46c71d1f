"""A gateway on a free port of this machine, as its users meet it, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from descant.gateway import Gateway, GuardedProtocol, Worker

SECRET = "sesame"
KEY = hashlib.sha256(SECRET.encode()).hexdigest()
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Asking:
    """What a caller does with a gateway."""

    url: str
    client: aiohttp.ClientSession = field(repr=False)

    async def chat(
        self, text: str = "Hello", headers: Mapping[str, str] = {}, **body: Any
    ) -> Answer:
        """Ask for a chat completion."""
        asked = {
            "model": "polite",
            "max_tokens": 4,
            "messages": [{"role": "user", "content": text}],
        }
        return await self.post(CHAT, {**asked, **body}, headers)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] = {}) -> Answer:
        """Ask with the test's key."""
        sent = {"authorization": f"Bearer {SECRET}", **headers}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(self.url + path, data=data, headers=sent) as response:
            return Answer(
                response.status,
                {k.lower(): v for k, v in response.headers.items()},
                await response.read(),
            )

    async def get(self, path: str) -> Answer:
        """Look at a page with the test's key."""
        sent = {"authorization": f"Bearer {SECRET}"}
        async with self.client.get(self.url + path, headers=sent) as response:
            return Answer(
                response.status,
                {k.lower(): v for k, v in response.headers.items()},
                await response.read(),
            )


@dataclass
class Running(Asking):
    """A gateway in the test's own event loop."""

    worker: Worker


@asynccontextmanager
async def running(file: Path, **environment: str) -> AsyncIterator[Running]:
    """Run the gateway of a file."""
    worker = Worker(file, environment=environment)
    config = uvicorn.Config(
        Gateway(worker), port=0, http=GuardedProtocol, lifespan="on", log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server._serve())
    while not server.started:
        if serving.done():
            serving.result()
            raise AssertionError("the gateway did not start")
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with aiohttp.ClientSession() as client:
            yield Running(f"http://127.0.0.1:{port}", client, worker)
    finally:
        server.should_exit = True
        await serving


def write_file(folder: Path, *upstreams: str, more: str = "", route: str = "") -> Path:
    """Write a gateway's file with these upstreams, in order of priority, and one key."""
    text = "".join(
        f'[upstreams.u{number}]\nurl = "{url}"\npriority = {number}\nlist_models = false\n'
        for number, url in enumerate(upstreams)
    )
    names = json.dumps([f"u{number}" for number in range(len(upstreams))])
    text += f'[routes."*"]\nupstreams = {names}\n{route}\n'
    text += f'[keys.team]\nsha256 = "{KEY}"\ntenant = "quality"\n{more}\n'
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def read_lines(ledger: Path) -> list[dict[str, Any]]:
    """Return the records of a ledger file, oldest first."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        connection.row_factory = sqlite3.Row
        return [
            dict(row) for row in connection.execute("select * from gateway_usage order by time")
        ]
