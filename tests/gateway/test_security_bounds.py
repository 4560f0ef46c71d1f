"""Sizes, slowness and numbers of connections, over raw sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.gateway.raw import (
    ANSWER,
    BODY,
    CHUNKED,
    KEY_LINE,
    LENGTH,
    START,
    chunked,
    fronted,
    http,
    request,
    wire,
)
from tests.gateway.running import CHAT, Running

pytestmark = pytest.mark.anyio

TOO_LARGE = {
    "a target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: gateway\r\n\r\n",
    "one header": START + b"x-a: " + b"a" * 40_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
    "tiny headers": START + b"a:\r\n" * 100_000 + LENGTH + b"\r\n" + BODY,
    "trailers": START + CHUNKED + b"\r\n" + chunked(BODY)[:-2] + b"a:\r\n" * 100_000 + b"\r\n",
    "a method": b"A" * 40_000,
    "empty lines": b"\r\n" * 40_000,
}


async def test_a_head_has_a_size(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, upstream):
        for sent in TOO_LARGE.values():
            async with wire(gateway) as caller:
                await caller.send(sent)
                said = await caller.rest()
            assert said[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"")
        assert (await gateway.chat()).status == 200
    assert len(upstream.heard) == 1


async def test_the_size_of_a_head_is_the_file_s(tmp_path: Path) -> None:
    async with (
        fronted(tmp_path, "max_header_bytes = 2000") as (gateway, _),
        wire(gateway) as caller,
    ):
        await caller.send(request(BODY, b"x-a: " + b"a" * 1000))
        assert (await caller.answer()).status == 200
        await caller.send(request(BODY, b"x-a: " + b"a" * 2000))
        assert (await caller.answer()).status == 431
        assert await caller.rest() == b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"P", START, START + b"x", request() + b"\r\n", request() + b"POST / HTTP/1.1\r\na: b"],
    ids=["nothing", "a letter", "headers", "half a header", "an empty line", "half of a second"],
)
async def test_a_head_ends_in_time(tmp_path: Path, sent: bytes) -> None:
    async with fronted(tmp_path, "head_timeout_s = 0.2") as (gateway, _), wire(gateway) as caller:
        await caller.send(sent[:-2])
        await asyncio.sleep(0.1)
        await caller.send(sent[-2:])
        said = await caller.rest()
    assert said.count(b"HTTP/1.1 200 ") == sent.startswith(request())
    assert b"HTTP/1.1 408 " in said or sent in (b"", request() + b"\r\n")


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(tmp_path: Path) -> None:
    async with fronted(tmp_path, "head_timeout_s = 0.3") as (gateway, _), wire(gateway) as caller:
        reading = asyncio.ensure_future(caller.rest())
        await caller.send(START)
        while not reading.done():
            await caller.send(b"a")
            await asyncio.sleep(0.02)
        # Who writes on to a closed connection may be told so before it has read the answer.
        assert reading.result()[:13] in (b"HTTP/1.1 408 ", b"")


async def test_a_late_head_behind_a_stream_does_not_break_into_it(tmp_path: Path) -> None:
    said = http(ANSWER * 3)[:-5]
    async with (
        fronted(tmp_path, "head_timeout_s = 0.2", said, pause_s=0.6) as (gateway, _),
        wire(gateway) as caller,
    ):
        await caller.send(request() + b"POST / HTTP/1.1\r\n")
        assert b" 408 " not in await caller.rest()


SLOW = {
    "by length": START + LENGTH + b"\r\n",
    "by chunks": START + CHUNKED + b"\r\n1\r\n{\r\n",
    "by chunk extensions": START + CHUNKED + b"\r\n1;",
    "by trailers": START + CHUNKED + b"\r\n" + chunked(BODY)[:-2] + b"x-a: ",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
async def test_a_body_is_whole_in_time_however_it_trickles(tmp_path: Path, sent: bytes) -> None:
    async with (
        fronted(tmp_path, "body_timeout_s = 0.3") as (gateway, upstream),
        wire(gateway) as caller,
    ):
        await caller.send(sent)
        answering = asyncio.ensure_future(caller.answer())
        for _ in range(40):
            await caller.send(b"a")
            await asyncio.sleep(0.02)
            if answering.done():
                break
        answer = await answering
    assert (answer.status, answer.headers["connection"]) in [(408, "close"), (400, "close")]
    assert upstream.heard == []


async def test_the_whole_body_has_one_bound_of_time_not_each_part(tmp_path: Path) -> None:
    async with fronted(tmp_path, "body_timeout_s = 0.4") as (gateway, _), wire(gateway) as caller:
        await caller.send(START + LENGTH + b"\r\n")
        await asyncio.sleep(0.3)
        await caller.send(BODY[:5])
        begun = asyncio.get_running_loop().time()
        assert (await caller.answer()).status == 408
        # With a bound for each part there would be 0.4 s more.
        assert asyncio.get_running_loop().time() - begun < 0.3


async def test_who_is_refused_before_his_body_came_holds_no_connection(tmp_path: Path) -> None:
    start = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 1000000\r\n\r\n".encode()
    nowhere = START.replace(CHAT.encode(), b"/nowhere") + b"content-length: 1000000\r\n\r\n"
    async with fronted(tmp_path) as (gateway, _):
        for sent, status in ((start, 401), (nowhere, 404)):
            async with wire(gateway) as caller:
                await caller.send(sent)
                answer = await caller.answer()
                assert (answer.status, answer.headers["connection"]) == (status, "close")
                assert await caller.rest() == b""


@pytest.mark.parametrize(
    "lines", [LENGTH.replace(b"11", b"99"), CHUNKED], ids=["length", "chunked"]
)
async def test_a_body_has_a_size(tmp_path: Path, lines: bytes) -> None:
    large = b'{"a": "%s"}' % (b"a" * 3_000_000)
    framed = chunked(large) if lines == CHUNKED else large
    length = b"" if lines == CHUNKED else b"content-length: %d\r\n" % len(large)
    head = START + (CHUNKED if lines == CHUNKED else length) + b"\r\n"
    async with (
        fronted(tmp_path, "max_body_bytes = 100000") as (gateway, upstream),
        wire(gateway) as caller,
    ):
        # All of it is sent before the answer is read, as simple clients do.
        await caller.send(head + framed)
        answer = await caller.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.json["error"]["code"] == "request_too_large"
    assert upstream.heard == []


async def test_a_body_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    async with fronted(tmp_path, "max_body_bytes = 1000") as (gateway, _), wire(gateway) as caller:
        await caller.send(START + CHUNKED + b"\r\n")
        answering = asyncio.ensure_future(caller.answer())
        while not answering.done():
            await caller.send(chunked(b"a" * 500)[:-5])
            await asyncio.sleep(0)
        assert (await answering).status == 413
        async with asyncio.timeout(5):
            while not caller.reader.at_eof():
                caller.writer.write(chunked(b"a" * 500)[:-5])
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((KEY_LINE, b"content-length: 20000000\r\n"), 413),
        ((b"authorization: Bearer wrong\r\n", LENGTH), 401),
        ((KEY_LINE, b"content-encoding: gzip\r\n", LENGTH), 415),
    ],
)
async def test_nobody_is_asked_to_go_on_with_what_will_be_refused(
    tmp_path: Path, lines: tuple[bytes, ...], status: int
) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nexpect: 100-continue\r\n".encode()
    async with fronted(tmp_path) as (gateway, _), wire(gateway) as caller:
        await caller.send(head + b"".join(lines) + b"\r\n")
        answer = await caller.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")


async def test_who_waits_to_go_on_is_told_to(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, _), wire(gateway) as caller:
        await caller.send(START + LENGTH + b"expect: 100-continue\r\n\r\n")
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(BODY)
        answer = await caller.answer()
    assert answer.status == 200
    assert "connection" not in answer.headers


async def test_further_connections_are_told_when_to_come_back(tmp_path: Path) -> None:
    async with (
        fronted(tmp_path, "max_connections = 2") as (gateway, _),
        wire(gateway) as first,
        wire(gateway) as second,
    ):
        for caller in (first, second):
            await caller.send(request())
            assert (await caller.answer()).status == 200
        async with wire(gateway) as third:
            await third.send(request())
            answer = await third.answer()
            assert await third.rest() == b""
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["connection"] == "close"
        assert answer.json["error"]["code"] == "too_many_connections"
        async with wire(gateway) as third, wire(gateway) as fourth:
            # More than a few above the bound are not even heard.
            assert await fourth.rest() == b""
            await third.send(request())
            assert (await third.answer()).status == 503
        await first.send(request())
        assert (await first.answer()).status == 200


def without_reading(gateway: Running) -> socket.socket:
    """Return a connection whose system takes next to nothing in."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])))
    return caller


@pytest.mark.parametrize("is_stream", [False, True])
async def test_who_does_not_read_holds_nothing_for_ever(tmp_path: Path, is_stream: bool) -> None:
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"a" * 50_000)
    stream = http(event * 400, status=b"200 OK").replace(b"application/json", b"text/event-stream")
    whole = http(ANSWER.replace(b"Hi", b"a" * 20_000_000))
    body = BODY.replace(b"{", b'{"stream": true, ', 1) if is_stream else BODY
    said = stream if is_stream else whole
    async with fronted(tmp_path, "send_timeout_s = 0.3", said) as (gateway, upstream):
        caller = without_reading(gateway)
        caller.sendall(request(body))
        while not upstream.heard:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while gateway.worker.lasting.memory.view.in_flight("u0"):
                await asyncio.sleep(0.02)
        caller.close()


async def test_bytes_left_unread_at_the_end_hold_no_connection(tmp_path: Path) -> None:
    async with (
        fronted(tmp_path, "send_timeout_s = 0.2", http(ANSWER * 1)) as (gateway, _),
        wire(gateway) as caller,
    ):
        await caller.send(request(BODY, b"connection: close"))
        assert (await caller.answer()).status == 200
        assert await caller.rest() == b""
