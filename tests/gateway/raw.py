"""Bytes to a gateway and back, as no HTTP client would send them, and an upstream that keeps what it gets."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gateway.running import CHAT, SECRET, Running, running, write_file

BODY = json.dumps(
    {"model": "polite", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
).encode()
KEY_LINE = f"authorization: Bearer {SECRET}\r\n".encode()
START = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\n".encode() + KEY_LINE
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
_LONGEST_S = 5.0


@dataclass(frozen=True)
class RawAnswer:
    """One answer off the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """One connection to a gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write, though the other side may be gone."""
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> RawAnswer:
        """Read one answer; the test fails if none comes."""
        async with asyncio.timeout(_LONGEST_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            pairs = [line.split(": ", 1) for line in lines]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), "a header twice"
            body = await self._body(headers)
        return RawAnswer(int(first.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """Read until the gateway closes; the test fails if it does not."""
        async with asyncio.timeout(_LONGEST_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers["content-length"]))
        parts = []
        while size := int((await self.reader.readline()).strip(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)


@asynccontextmanager
async def wire(gateway: Running) -> AsyncIterator[Wire]:
    """Open a connection."""
    port = int(gateway.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request(body: bytes = BODY, *lines: bytes, path: str = CHAT, key: bytes = KEY_LINE) -> bytes:
    """Return a request as it should be, with these header lines more."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\n".encode() + key
    more = b"".join(line + b"\r\n" for line in lines)
    return head + more + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "model": "polite",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()


def http(body: bytes = ANSWER, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an upstream's answer, with these header lines more."""
    more = b"".join(line + b"\r\n" for line in lines)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\n" % status
    return head + more + b"content-length: %d\r\n\r\n" % len(body) + body


@dataclass
class Scripted:
    """An upstream that says the same to everybody."""

    url: str
    said: bytes
    heard: list[bytes] = field(default_factory=list)
    """What came over each connection that spoke at all."""
    connections: int = 0


@asynccontextmanager
async def scripted(
    said: bytes | None = None, tls: ssl.SSLContext | None = None, pause_s: float = 0.0
) -> AsyncIterator[Scripted]:
    """Serve one on a free port; without anything to say, an ordinary answer."""
    upstream = Scripted("", http() if said is None else said)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-l")]
            body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
            upstream.heard.append(head + body)
            await asyncio.sleep(pause_s)
            writer.write(upstream.said)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    upstream.url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()


@asynccontextmanager
async def fronted(
    folder: Path, server: str = "", said: bytes | None = None, pause_s: float = 0.0
) -> AsyncIterator[tuple[Running, Scripted]]:
    """A gateway with these lines of [server], in front of an upstream that says one thing."""
    async with scripted(said, pause_s=pause_s) as upstream:
        path = write_file(folder, upstream.url, more=f"[server]\n{server}")
        async with running(path) as gateway:
            yield gateway, upstream
