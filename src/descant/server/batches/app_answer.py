"""The server asking itself: a request that goes through the app without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Scope

from descant.server.keys import ANYONE, Keys


def answers_from(
    app: ASGIApp, keys: Keys | None
) -> Callable[[str], Callable[[str, bytes], Awaitable[tuple[int, bytes]]]]:
    """Return what takes a caller's name and returns what has requests answered in that name.

    A caller whose key is gone is answered as one who sent no key.
    """

    def answer_for(name: str) -> Callable[[str, bytes], Awaitable[tuple[int, bytes]]]:
        async def answer(url: str, body: bytes) -> tuple[int, bytes]:
            caller = ANYONE if keys is None else keys.named(name)
            exchange = _Exchange(body)
            await app(_scope(url, {"caller": caller}), exchange.receive, exchange.send)
            return exchange.status, bytes(exchange.answer)

        return answer

    return answer_for


@dataclass
class _Exchange:
    body: bytes
    is_read: bool = False
    status: int = 500
    answer: bytearray = field(default_factory=bytearray)

    async def receive(self) -> Message:
        if self.is_read:
            # Whoever listens for the caller to leave listens until the answer is complete.
            await asyncio.get_running_loop().create_future()
        self.is_read = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message.get("body", b"")


def _scope(url: str, state: dict[str, object]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "server": ("batch", 80),
        "client": None,
        "state": state,
    }
