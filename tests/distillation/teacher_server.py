"""A small real teacher on a loopback port: it answers chats by a rule, and fails as it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from descant.cli.serve import listen

Body = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Act = Callable[[Body, Send], Awaitable[None]]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    arrived_s: float
    path: str
    headers: Mapping[str, str]
    body: Body

    @property
    def question(self) -> str:
        """What tells one question from another: prompt and seed."""
        return json.dumps([self.body["messages"], self.body.get("seed")])


def labels_of(body: Body) -> list[str]:
    prompt: str = body["messages"][-1]["content"]
    return prompt.rpartition("Labels, one a line")[2].splitlines()[1:]


def says_yes_to_hello(body: Body) -> str:
    labels = labels_of(body)
    return labels[-1] if "hello" in body["messages"][-1]["content"] else labels[0]


@dataclass
class TeacherServer:
    """An ASGI app; `script` says what becomes of the next requests, `act` of all after these."""

    answer: Callable[[Body], str] = says_yes_to_hello
    script: Iterator[Act] = field(default_factory=lambda: iter(()))
    act: Act | None = None
    seen: list[Seen] = field(default_factory=list)
    address: str = ""
    most_at_once: int = 0
    _at_once: int = 0

    def times_asked(self) -> Counter[str]:
        return Counter(seen.question for seen in self.seen)

    def then(self, *acts: Act) -> None:
        """Say what becomes of the next requests."""
        self.script = iter(acts)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        received = b""
        while (message := await receive())["type"] == "http.request":
            received += message["body"]
            if not message["more_body"]:
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = json.loads(received or b"{}")
        self.seen.append(Seen(time.monotonic(), scope["path"], headers, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await next(self.script, self.act or self.well)(body, send)
        finally:
            self._at_once -= 1

    async def well(self, body: Body, send: Send) -> None:
        await reply(send, 200, json.dumps(completion(body, self.answer(body))))

    def slowly(self, delay_s: float) -> Act:
        async def act(body: Body, send: Send) -> None:
            await asyncio.sleep(delay_s)
            await self.well(body, send)

        return act

    def unless(self, is_refused: Callable[[Body], bool], status: int, text: str) -> Act:
        """Refuse some bodies and answer the others."""

        async def act(body: Body, send: Send) -> None:
            if is_refused(body):
                await reply(send, status, text)
            else:
                await self.well(body, send)

        return act


def completion(body: Body, text: str, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, **more}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def says(text: str) -> Act:
    """Answer with this text, whatever was asked."""

    async def act(body: Body, send: Send) -> None:
        await reply(send, 200, json.dumps(completion(body, text)))

    return act


def sends(status: int, text: str = "", **headers: str) -> Act:
    """Send a response as it is; underscores in names of headers stand for hyphens."""

    async def act(body: Body, send: Send) -> None:
        await reply(send, status, text, headers)

    return act


async def half_closed(body: Body, send: Send) -> None:
    """Break off in the middle of the reply."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"500")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"choices": [', "more_body": True})


async def reply(
    send: Send, status: int, text: str, headers: Mapping[str, str] | None = None
) -> None:
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in (headers or {}).items()]
    named.append((b"content-length", str(len(text.encode())).encode()))
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": text.encode()})


@contextmanager
def teaching(server: TeacherServer) -> Iterator[TeacherServer]:
    """Serve until the block ends; the address is that of the API."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(server, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not running.started:
            time.sleep(0.005)
        server.address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        yield server
    finally:
        running.should_exit = True
        running.force_exit = True
        thread.join()
        listener.close()
