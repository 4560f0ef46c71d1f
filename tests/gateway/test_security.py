"""What can be read in more than one way, over raw sockets: framing, pipelines, methods, upgrades."""

from __future__ import annotations

import asyncio
import re
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
    request,
    wire,
)
from tests.gateway.running import CHAT, SECRET

pytestmark = pytest.mark.anyio

AMBIGUOUS = {
    "two lengths": START + LENGTH + b"content-length: 3\r\n\r\n" + BODY,
    "the same length twice": START + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": START + b"content-length: 5, 5\r\n\r\n" + BODY,
    "length, then chunked": START + LENGTH + CHUNKED + b"\r\n" + chunked(BODY),
    "chunked, then length": START + CHUNKED + LENGTH + b"\r\n" + chunked(BODY),
    "chunked, identity": START + b"transfer-encoding: chunked, identity\r\n\r\n" + chunked(BODY),
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


async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(
    tmp_path: Path,
) -> None:
    said: dict[str, list[bytes]] = {}
    async with fronted(tmp_path) as (gateway, upstream):
        for name, sent in AMBIGUOUS.items():
            async with wire(gateway) as caller:
                await caller.send(sent + request())
                said[name] = re.findall(rb"HTTP/1.1 (...)", await caller.rest())
    assert said == dict.fromkeys(AMBIGUOUS, [b"400"])
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


TARGETS = {
    f"POST http://169.254.169.254{CHAT}": 200,
    "GET http://169.254.169.254/latest/meta-data": 404,
    "CONNECT 169.254.169.254:80": 400,
    "TRACE /": 404,
    f"TRACE {CHAT}": 405,
    "OPTIONS *": 404,
    f"OPTIONS {CHAT}": 405,
    "GET //169.254.169.254/latest": 404,
    "GET /../../etc/passwd": 404,
    "GET /%2e%2e/%00/%0d%0aset-cookie:a=b": 404,
}


async def test_other_methods_and_targets_lead_nowhere(tmp_path: Path) -> None:
    rest = request().partition(b" HTTP/1.1")[2]
    found = {}
    async with fronted(tmp_path) as (gateway, upstream):
        for line in TARGETS:
            async with wire(gateway) as caller:
                await caller.send(line.encode() + b" HTTP/1.1" + rest)
                answer = await caller.answer()
            found[line] = answer.status
            assert SECRET not in str(answer)
            assert set(answer.headers).isdisjoint({"set-cookie", "access-control-allow-origin"})
    assert found == TARGETS
    assert len(upstream.heard) == 1


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2"])
async def test_no_upgrade_happens_and_nothing_after_it_is_a_request(
    tmp_path: Path, protocol: bytes
) -> None:
    lines = (b"connection: upgrade, http2-settings", b"upgrade: " + protocol)
    page = b"GET /health HTTP/1.1\r\nhost: gateway\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    async with fronted(tmp_path) as (gateway, upstream):
        for sent, status in ((request(BODY, *lines), 400), (page, 200)):
            async with wire(gateway) as caller:
                await caller.send(sent + request())
                answer = await caller.answer()
                assert await caller.rest() == b""
            assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert upstream.heard == []


async def test_a_trailer_is_no_header(tmp_path: Path) -> None:
    start = START.replace(KEY_LINE, b"")
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(start + CHUNKED + b"\r\n" + chunked(BODY)[:-2] + KEY_LINE + b"\r\n")
        assert (await caller.answer()).status == 401
    assert upstream.heard == []
