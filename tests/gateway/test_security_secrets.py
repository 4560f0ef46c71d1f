"""Keys and conversations: in what reaches the upstream and the caller, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.raw import ANSWER, KEY_LINE, fronted, http, request, scripted, wire
from tests.gateway.running import CHAT, SECRET, running, write_file

pytestmark = pytest.mark.anyio

UPSTREAM_KEY = "sk-upstream-4f1c0ffee"
CONVERSATION = "my card is 4111 1111 1111 1111"
SAID = "your card is 4242 4242 4242 4242"
SECRETS = (SECRET, UPSTREAM_KEY, CONVERSATION, SAID)
HEARD = json.dumps(
    {"model": "polite", "messages": [{"role": "user", "content": CONVERSATION}]}
).encode()
HASTE = {"x-deadline-s": "1"}
WRONG_KEY = "nearly-the-key-of-somebody"


def with_key(file: Path) -> Path:
    """Let the first upstream have a key."""
    file.write_text(file.read_text().replace("priority = 0", 'priority = 0\nkey_env = "UP"'))
    return file


def kept_in(folder: Path) -> bytes:
    """Return all that was written there beside the settings."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml"]
    return b"".join(path.read_bytes() for path in files)


def stated(error: str) -> bytes:
    return json.dumps({"error": {"message": error, "code": error, "param": error}}).encode()


QUOTED = f"Incorrect key {UPSTREAM_KEY} for http://localhost/v1 (Bearer {UPSTREAM_KEY})"
ANSWERS = {
    "an answer": http(ANSWER.replace(b"Hi", SAID.encode())),
    "a refusal": http(stated(QUOTED), status=b"400 Bad Request"),
    "a wrong key": http(stated(QUOTED), status=b"401 Unauthorized"),
    "a failure": http(stated(QUOTED), status=b"500 Oops"),
    "a throttle": http(stated(QUOTED), b"retry-after: 1", status=b"429 Slow"),
    "garbage": http(f"<html>{QUOTED} {SAID}".encode()),
    "another protocol": f"SSH-2.0-{UPSTREAM_KEY} {SAID}\r\n\r\n".encode(),
    "a broken head": f"HTTP/1.1 200 OK\r\n{UPSTREAM_KEY}{SAID}\r\n\r\n".encode(),
    "a broken stream": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: "
    + stated(QUOTED)
    + b"\n\n",
    "nothing": b"",
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS.keys())
async def test_nothing_secret_is_written_down_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    ledger = tmp_path / "usage.sqlite"
    more = f'[state]\nledger = "{ledger}"\n'
    async with scripted(said) as upstream:
        file = with_key(write_file(tmp_path, upstream.url, more=more))
        async with running(file, UP=UPSTREAM_KEY) as gateway:
            stream = b'"stream": true, ' if b"event-stream" in said else b""
            answer = await gateway.post(CHAT, HEARD.replace(b"{", b"{" + stream, 1), HASTE)
            is_whole = said == ANSWERS["an answer"]
            told = str(answer.headers) + ("" if is_whole else answer.body.decode())
            assert not [each for each in SECRETS if each in told]
            metrics = (await gateway.get("/metrics")).body.decode()
            await asyncio.to_thread(gateway.worker.lasting.ledger.flush)  # type: ignore[union-attr]
    assert UPSTREAM_KEY.encode() in upstream.heard[0]
    kept = kept_in(tmp_path)
    assert b"polite" in kept
    for each in SECRETS:
        assert each not in metrics
        assert each not in caplog.text
        assert each.encode() not in kept


async def test_no_span_holds_a_secret(tmp_path: Path) -> None:
    collected = http(b"", status=b"200 OK")
    async with (
        scripted(ANSWERS["a refusal"]) as upstream,
        scripted(collected) as collector,
    ):
        more = f'[tracing]\nendpoint = "{collector.url}/v1/traces"\nshare = 1.0\n'
        file = with_key(write_file(tmp_path, upstream.url, more=more))
        async with running(file, UP=UPSTREAM_KEY) as gateway:
            assert (await gateway.post(CHAT, HEARD, {"x-request-id": "mine"})).status == 400
            assert (await gateway.post(CHAT, HEARD, {"traceparent": SECRET})).status == 400
    sent = b"".join(collector.heard)
    assert sent.count(b"polite") >= 2
    assert not [each for each in SECRETS if each.encode() in sent]


async def test_nothing_of_a_bug_s_surroundings_is_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    async with fronted(tmp_path) as (gateway, _):
        answering = gateway.worker.settings.answering
        monkeypatch.setattr(answering, "_claims", None)
        answer = await gateway.post(CHAT, HEARD)
        monkeypatch.setattr(gateway.worker.settings.intake, "_estimator", None)
        early = await gateway.post(CHAT, HEARD)
    assert (answer.status, early.status) == (500, 500)
    assert "AttributeError" in caplog.text
    assert not [each for each in SECRETS if each in caplog.text + str(answer) + str(early)]


@pytest.mark.parametrize("header", ["authorization: Bearer ", "x-api-key: ", "api-key: "])
async def test_a_key_that_is_wrong_is_not_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    caplog.set_level(logging.DEBUG)
    line = f"{header}{WRONG_KEY}\r\n".encode()
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(request(HEARD, key=line))
        answer = await caller.answer()
    assert answer.status == 401
    assert WRONG_KEY not in str(answer) + caplog.text
    assert upstream.heard == []


OWN = {
    "cookie": "session=of-the-caller",
    "x-forwarded-for": "10.1.2.3",
    "forwarded": "for=10.1.2.3",
    "x-real-ip": "10.1.2.3",
    "x-api-key": "another-key",
    "api-key": "another-key",
    "proxy-authorization": "Basic another-key",
    "openai-organization": "of-the-caller",
    "anthropic-version": "of-the-caller",
    "referer": "of-the-caller",
    "user-agent": "of-the-caller",
    "x-request-id": "of-the-caller",
    "baggage": "of=the-caller",
    "te": "trailers",
    "connection": "x-hop",
    "x-hop": "of-the-caller",
}


async def test_no_header_of_the_caller_s_reaches_the_upstream(tmp_path: Path) -> None:
    async with scripted() as upstream:
        file = with_key(write_file(tmp_path, upstream.url))
        async with running(file, UP=UPSTREAM_KEY) as gateway:
            answer = await gateway.chat(headers=OWN)
    (heard,) = upstream.heard
    head = heard.partition(b"\r\n\r\n")[0].decode().lower()
    assert answer.status == 200
    assert answer.headers["x-client-request-id"] == "of-the-caller"
    assert f"authorization: bearer {UPSTREAM_KEY}" in head
    for value in (SECRET, *OWN.values()):
        assert value.lower() not in head
    sent = {line.partition(":")[0] for line in head.split("\r\n")[1:]}
    assert sent - {"accept", "accept-encoding", "authorization", "content-length"} == {
        "content-type",
        "host",
        "x-request-id",
    }


NO_IDS = ("a\tb", "a b", "a" * 200, "a;b", "é", "<a>", '"a"', "a,b", "", "{jndi:x}", "%0d%0aa:b")


async def test_an_id_that_is_none_is_not_given_back(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, _), wire(gateway) as caller:
        for own in NO_IDS:
            await caller.send(request(HEARD, b"x-request-id: " + own.encode()))
            answer = await caller.answer()
            assert answer.status == 200
            assert "x-client-request-id" not in answer.headers
            assert re.fullmatch(r"[a-z0-9-]{16,64}", answer.headers["x-request-id"])
            assert not own or own not in answer.headers["x-request-id"]


async def test_no_header_of_the_upstream_s_reaches_the_caller(tmp_path: Path) -> None:
    lines = (
        b"set-cookie: a=b",
        b"x-evil: 1",
        b"access-control-allow-origin: *",
        b"location: http://169.254.169.254/",
        b"www-authenticate: Basic",
        b"x-request-id: theirs",
        b"x-descant-upstream: theirs",
        b"retry-after: 5",
        b"server: theirs",
    )
    async with fronted(tmp_path, said=http(ANSWER, *lines)) as (gateway, _):
        answer = await gateway.chat()
    assert answer.status == 200
    assert set(answer.headers).isdisjoint(
        {"set-cookie", "x-evil", "access-control-allow-origin", "location", "retry-after"}
    )
    assert "theirs" not in str(answer.headers)


@pytest.mark.parametrize(
    "line",
    [b"x-a: b\x00c", b"x-a: b\rset-cookie: a=b", b"x-a : b", b"content-length: 3"],
)
async def test_an_upstream_whose_head_can_be_read_in_two_ways_answers_nobody(
    tmp_path: Path, line: bytes
) -> None:
    async with fronted(tmp_path, said=http(ANSWER, line)) as (gateway, _), wire(gateway) as caller:
        await caller.send(request())
        answer = await caller.answer()
    assert "set-cookie" not in answer.headers
    assert answer.status == 503


async def test_what_the_command_itself_writes_holds_no_secret(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with scripted(ANSWERS["garbage"]) as upstream:
        file = with_key(write_file(tmp_path, upstream.url))
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", sys.executable),
            *("-c", "from descant.cli import main; main()"),
            *("gateway", str(file), "--port", str(port)),
            env={**os.environ, "UP": UPSTREAM_KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            await _ask(port)
            limits = await asyncio.to_thread(Path(f"/proc/{process.pid}/limits").read_text)
        finally:
            process.send_signal(signal.SIGTERM)
            written, _ = await process.communicate()
    assert b"Uvicorn running" in written
    # Soft and hard: connections end by the gateway's own bound, not where the system's begins.
    ((soft, hard),) = re.findall(r"Max open files +(\d+) +(\d+)", limits)
    assert soft == hard
    assert upstream.heard
    assert not [each for each in (*SECRETS, WRONG_KEY) if each.encode() in written]


async def _ask(port: int) -> None:
    """Ask as soon as somebody listens: rightly, with a wrong key, and with what is no HTTP."""
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.1)
    writer.write(request(HEARD, b"x-deadline-s: 1", path=f"{CHAT}?key={SECRET}"))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    headers = {"authorization": f"Bearer {WRONG_KEY}"}
    url = f"http://127.0.0.1:{port}{CHAT}"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, headers=headers, data=b"") as said,
    ):
        assert said.status == 401
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(KEY_LINE + b"\x00" + CONVERSATION.encode() + b"\r\n\r\n")
    await reader.read()
    writer.close()
