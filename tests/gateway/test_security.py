"""What no honest client sends, over raw sockets: framing, sizes, slowness, connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.raw import (
    ANSWER,
    BODY,
    KEY_LINE,
    Scripted,
    Wire,
    chunked,
    http,
    request,
    scripted,
    wire,
)
from tests.gateway.running import CHAT, Running, running, write_file

pytestmark = pytest.mark.anyio

START = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\n".encode() + KEY_LINE
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
SECOND = request()


@asynccontextmanager
async def fronted(
    folder: Path, server: str = "", said: bytes | None = None, pause_s: float = 0.0
) -> AsyncIterator[tuple[Running, Scripted]]:
    """A gateway with these lines of [server], in front of an upstream that says one thing."""
    async with scripted(said, pause_s=pause_s) as upstream:
        path = write_file(folder, upstream.url, more=f"[server]\n{server}")
        async with running(path) as gateway:
            yield gateway, upstream


AMBIGUOUS = {
    "two lengths": START + LENGTH + b"content-length: 3\r\n\r\n" + BODY,
    "the same length twice": START + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": START + b"content-length: 5, 5\r\n\r\n" + BODY,
    "length, then chunked": START + LENGTH + CHUNKED + b"\r\n" + chunked(BODY),
    "chunked, then length": START + CHUNKED + LENGTH + b"\r\n" + chunked(BODY),
    "chunked, identity": START
    + b"transfer-encoding: chunked, identity\r\n\r\n"
    + chunked(BODY),
    "identity": START + b"transfer-encoding: identity\r\n\r\n" + BODY,
    "xchunked": START + b"transfer-encoding: xchunked\r\n\r\n" + chunked(BODY),
    "gzip, chunked": START + b"transfer-encoding: gzip, chunked\r\n\r\n" + chunked(BODY),
    "chunked twice": START + CHUNKED + CHUNKED + b"\r\n" + chunked(BODY),
    "chunked by a tab": START + b"transfer-encoding:\x0bchunked\r\n\r\n" + chunked(BODY),
    "chunked in HTTP/1.0": START.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + chunked(BODY),
    "negative length": START + b"content-length: -1\r\n\r\n" + BODY,
    "signed length": START + b"content-length: +%d\r\n\r\n" % len(BODY) + BODY,
    "length in hex": START + b"content-length: 0x10\r\n\r\n" + BODY,
    "length beyond 64 bits": START + b"content-length: 18446744073709551617\r\n\r\n" + BODY,
    "nul in a header": START + b"x-a: b\x00c\r\n" + LENGTH + b"\r\n" + BODY,
    "bare carriage return": START + b"x-a: b\rcontent-length: 0\r\n" + LENGTH + b"\r\n" + BODY,
    "bare line feeds": START.replace(b"\r\n", b"\n") + LENGTH + b"\r\n" + BODY,
    "folded header": START + b"x-a: b\r\n c\r\n" + LENGTH + b"\r\n" + BODY,
    "folded encoding": START + b"transfer-encoding:\r\n chunked\r\n\r\n" + chunked(BODY),
    "space before colon": START + b"content-length : 5\r\n\r\n" + BODY,
    "space before the first header": START.replace(b"host", b" host") + LENGTH + b"\r\n" + BODY,
    "no name": START + b": x\r\n" + LENGTH + b"\r\n" + BODY,
    "two hosts": START + b"host: other\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/2.0": START.replace(b"1.1", b"2.0") + LENGTH + b"\r\n" + BODY,
    "HTTP/0.9": START.replace(b"1.1", b"0.9") + LENGTH + b"\r\n" + BODY,
    "HTTP/1.2": START.replace(b"1.1", b"1.2") + LENGTH + b"\r\n" + BODY,
    "chunk size beyond 64 bits": START + CHUNKED + b"\r\n1" + b"0" * 16 + b"\r\n" + BODY,
    "chunk size with a sign": START + CHUNKED + b"\r\n-1\r\n" + BODY,
    "chunk size in 0x": START + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk without its end": START + CHUNKED + b"\r\n2\r\n{}0\r\n\r\n",
    "chunk ended by a line feed": START + CHUNKED + b"\r\n2\n{}\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(
    tmp_path: Path, sent: bytes
) -> None:
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(sent + SECOND)
        said = await caller.rest()
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 400 ")
    assert upstream.heard == []


async def test_pipelined_requests_are_answered_in_order_and_none_is_lost(tmp_path: Path) -> None:
    async with fronted(tmp_path, pause_s=0.05) as (gateway, upstream), wire(gateway) as caller:
        last = b"GET /health HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"
        await caller.send(request() + b"\r\n" + request(b"{}") + request() + last)
        answers = [await caller.answer() for _ in range(4)]
        assert await caller.rest() == b""
    assert [answer.status for answer in answers] == [200, 400, 200, 200]
    assert [answer.body for answer in answers[::2]] == [ANSWER] * 2
    assert answers[3].json == {"status": "ok"}
    assert len(upstream.heard) == 2


async def test_a_bad_request_behind_one_that_is_answered_is_not_answered_in_its_place(
    tmp_path: Path,
) -> None:
    async with fronted(tmp_path, pause_s=0.3) as (gateway, _), wire(gateway) as caller:
        await caller.send(request() + b"BAD\x00\r\n\r\n")
        assert b" 400 " not in await caller.rest()


async def test_who_hangs_up_with_requests_waiting_frees_the_one_that_is_answered(
    tmp_path: Path,
) -> None:
    async with fronted(tmp_path, pause_s=60.0) as (gateway, upstream):
        async with wire(gateway) as caller:
            await caller.send(request() + request())
            while not upstream.heard:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while gateway.worker.lasting.memory.view.in_flight("u0"):
                await asyncio.sleep(0.01)
    assert len(upstream.heard) == 1


async def test_a_body_shorter_than_its_length_is_never_a_request(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(START + b"content-length: 100000\r\n\r\n" + BODY)
        caller.writer.write_eof()
        assert await caller.rest() == b""
        assert (await gateway.chat()).status == 200
    assert len(upstream.heard) == 1


async def test_the_old_protocol_is_answered_and_the_connection_ends(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, _), wire(gateway) as caller:
        await caller.send(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await caller.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await caller.rest() == b""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"POST http://169.254.169.254{CHAT}", 200),
        ("GET http://169.254.169.254/latest/meta-data", 404),
        ("CONNECT 169.254.169.254:80", 400),
        ("TRACE /", 404),
        (f"TRACE {CHAT}", 405),
        ("OPTIONS *", 400),
        (f"OPTIONS {CHAT}", 405),
        ("GET //169.254.169.254/latest", 404),
        ("GET /../../etc/passwd", 404),
        ("GET /%2e%2e/%00/%0d%0aset-cookie:a=b", 404),
    ],
)
async def test_other_methods_and_targets_lead_nowhere(
    tmp_path: Path, line: str, status: int
) -> None:
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        rest = request().partition(b" HTTP/1.1")[2]
        await caller.send(line.encode() + b" HTTP/1.1" + rest)
        answer = await caller.answer()
    assert answer.status == status
    assert "sesame" not in str(answer)
    assert set(answer.headers).isdisjoint({"set-cookie", "access-control-allow-origin"})
    assert len(upstream.heard) == (status == 200)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2"])
async def test_no_upgrade_happens_and_nothing_after_it_is_a_request(
    tmp_path: Path, protocol: bytes
) -> None:
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        lines = (b"connection: upgrade, http2-settings", b"upgrade: " + protocol)
        await caller.send(request(BODY, *lines) + SECOND)
        answer = await caller.answer()
        assert await caller.rest() == b""
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert len(upstream.heard) == 1


async def test_a_trailer_is_no_header(tmp_path: Path) -> None:
    start = START.replace(KEY_LINE, b"")
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(start + CHUNKED + b"\r\n" + chunked(BODY)[:-2] + KEY_LINE + b"\r\n")
        assert (await caller.answer()).status == 401
    assert upstream.heard == []


TOO_LARGE = {
    "a target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: gateway\r\n\r\n",
    "one header": START + b"x-a: " + b"a" * 40_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
    "tiny headers": START + b"a:\r\n" * 100_000 + LENGTH + b"\r\n" + BODY,
    "trailers": START + CHUNKED + b"\r\n" + chunked(BODY)[:-2] + b"a:\r\n" * 100_000 + b"\r\n",
    "a method": b"A" * 40_000,
    "empty lines": b"\r\n" * 40_000,
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_head_has_a_size(tmp_path: Path, sent: bytes) -> None:
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(sent)
        said = await caller.rest()
    assert said[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"")
    assert upstream.heard == []


async def test_the_size_of_a_head_is_the_file_s(tmp_path: Path) -> None:
    async with fronted(tmp_path, "max_header_bytes = 2000") as (gateway, _), wire(gateway) as caller:
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
        assert reading.result().startswith(b"HTTP/1.1 408 ")


async def test_a_late_head_behind_a_stream_does_not_break_into_it(tmp_path: Path) -> None:
    said = http(ANSWER * 3)[:-5]
    async with fronted(tmp_path, "head_timeout_s = 0.2", said, pause_s=0.6) as (gateway, _):
        async with wire(gateway) as caller:
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
    async with fronted(tmp_path, "body_timeout_s = 0.3") as (gateway, upstream):
        async with wire(gateway) as caller:
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


@pytest.mark.parametrize("lines", [LENGTH.replace(b"11", b"99"), CHUNKED], ids=["length", "chunked"])
async def test_a_body_has_a_size(tmp_path: Path, lines: bytes) -> None:
    large = b'{"a": "%s"}' % (b"a" * 3_000_000)
    framed = chunked(large) if lines == CHUNKED else large
    length = b"" if lines == CHUNKED else b"content-length: %d\r\n" % len(large)
    head = START + (CHUNKED if lines == CHUNKED else length) + b"\r\n"
    async with fronted(tmp_path, "max_body_bytes = 100000") as (gateway, upstream):
        async with wire(gateway) as caller:
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
    async with fronted(tmp_path, "max_connections = 2") as (gateway, _):
        async with wire(gateway) as first, wire(gateway) as second:
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
    async with fronted(tmp_path, "send_timeout_s = 0.2", http(ANSWER * 1)) as (gateway, _):
        async with wire(gateway) as caller:
            await caller.send(request(BODY, b"connection: close"))
            assert (await caller.answer()).status == 200
            assert await caller.rest() == b""


def test_a_wire_reads_what_was_written() -> None:
    assert chunked(b"ab", b"c") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert Wire.__name__ == "Wire"
