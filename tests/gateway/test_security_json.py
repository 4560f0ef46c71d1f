"""Bodies that are JSON, almost, or far too much of it: each is answered, and none breaks anything."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.raw import fronted, http, request, wire
from tests.gateway.running import CHAT, running, write_file

pytestmark = pytest.mark.anyio

MESSAGES = '"messages": [{"role": "user", "content": "Hello"}]'


def chat(more: str, messages: str = MESSAGES) -> bytes:
    return f'{{"model": "polite", {messages}, {more}}}'.encode()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


REFUSED = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "deeply nested": chat(f'"a": {nested(100_000)}'),
    "not a number": chat('"temperature": NaN'),
    "infinity": chat('"temperature": -Infinity'),
    "invalid UTF-8": chat('"a": "b"').replace(b"b", b"\xff\xfe"),
    "overlong UTF-8": chat('"a": "b"').replace(b"b", b"\xc0\xaf"),
    "UTF-16": chat('"a": 1').decode().encode("utf-16"),
    "a mark of byte order": b"\xef\xbb\xbf" + chat('"a": 1'),
    "half a surrogate pair": chat(r'"a": "\ud800"'),
    "a comment": chat('"a": 1 /* b */'),
    "two documents": chat('"a": 1') * 2,
    "a control character": chat('"a": "\x01"'),
    "no model": b'{"messages": []}',
    "a model of another kind": b'{"model": {"a": 1}, "messages": []}',
    "two spellings of a field": chat('"Model": "other"'),
}


async def test_what_is_no_request_is_refused_and_asked_of_nobody(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, upstream):
        found = {name: (await gateway.post(CHAT, body)).status for name, body in REFUSED.items()}
    assert found == dict.fromkeys(REFUSED, 400)
    assert upstream.heard == []


STRANGE = {
    "nested": chat(f'"a": {nested(900)}'),
    "nested messages": chat('"a": 1', f'"messages": {nested(900)}'),
    "a nested content": chat('"a": 1', f'"messages": [{{"content": {nested(900)}}}]'),
    "a nested prompt": chat('"a": 1', f'"prompt": {nested(1000)}'),
    "a nested input": chat('"a": 1', f'"input": {nested(1000)}'),
    "nested tools": chat(f'"tools": {nested(900)}'),
    "nested options": chat(f'"stream": true, "stream_options": {nested(900)}'),
    "huge counts": chat(f'"max_tokens": {10**30}, "n": {10**18}, "seed": -{10**30}'),
    "huge numbers": chat('"max_tokens": 1e308, "n": 1e999, "temperature": 1e-999'),
    "counts of another kind": chat('"max_tokens": "4", "n": [], "stop": {}'),
    "negative counts": chat('"max_tokens": -4, "n": -1, "best_of": -9'),
    "no counts": chat('"max_tokens": true, "n": null, "stream": "yes"'),
    "messages of no kind": chat('"a": 1', '"messages": [null, 1, "a", [], {"content": [1, {}]}]'),
    "one huge stream": chat(f'"stream": true, "n": {2**62}'),
    "many keys": b"{%s}" % b",".join(b'"%d":1' % key for key in range(50_000)),
    "many keys and a model": chat(",".join(f'"{key}":1' for key in range(100_000))),
    "a huge model": json.dumps({"model": "a" * 1_000_000, "messages": []}).encode(),
    "a model of control characters": rb'{"model": "a\r\nx-b: c\u0000\ud83d\ude00", "messages": []}',
}


@pytest.mark.parametrize("cache", ["", "cache_s = 60"])
async def test_whatever_stands_in_a_request_is_answered(tmp_path: Path, cache: str) -> None:
    found: dict[str, Any] = {}
    async with (
        mock_upstream() as served,
        running(write_file(tmp_path, served.url, route=cache)) as gateway,
    ):
        for name, body in STRANGE.items():
            answer = await gateway.post(CHAT, body)
            found[name] = answer.status
            assert "x-b" not in answer.headers
            assert answer.headers["content-type"].startswith(
                ("application/json", "text/event-stream")
            )
        found["afterwards"] = (await gateway.chat()).status
    assert found["afterwards"] == 200
    assert {name: status for name, status in found.items() if status not in (200, 400, 404)} == {}


async def test_of_two_values_of_a_field_the_one_that_was_checked_is_sent(tmp_path: Path) -> None:
    bodies = [
        chat('"model": "refund"'),
        chat(r'"mod\u0065l": "refund"'),
        chat(r'"max_tokens": 9, "model": "refund", "\u006dodel": "refund"'),
    ]
    async with fronted(tmp_path) as (gateway, upstream):
        file = tmp_path / "gateway.toml"
        assert "polite" not in file.read_text()
        for body in bodies:
            assert (await gateway.post(CHAT, body)).status == 200
    sent = [heard.partition(b"\r\n\r\n")[2] for heard in upstream.heard]
    assert [json.loads(body)["model"] for body in sent] == ["refund"] * 3
    assert not any(b"polite" in body for body in sent)


async def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(chat('"a": "%s"' % ("a" * 5_000_000)))
    async with fronted(tmp_path) as (gateway, upstream), wire(gateway) as caller:
        await caller.send(request(bomb, b"content-encoding: gzip"))
        answer = await caller.answer()
        assert (await gateway.post(CHAT, bomb)).status == 400
    assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_encoding")
    assert upstream.heard == []


async def test_a_body_of_hostile_words_holds_up_nobody_else(tmp_path: Path) -> None:
    """Whatever is searched in a body, or in what an upstream says of it, is searched once."""
    keys = ",".join(f'"k{key}":1' for key in range(300_000))
    bodies = [
        chat(keys),
        json.dumps({"model": "sk-" * 300_000, "messages": "none"}).encode(),
        json.dumps({"model": "polite", "messages": [{"content": '"' * 900_000}]}).encode(),
    ]
    said = json.dumps({"error": {"message": "sk-" * 20_000}}).encode()
    async with (
        fronted(tmp_path, said=http(said, status=b"400 Bad Request")) as (gateway, upstream),
        wire(gateway) as caller,
    ):
        for body in bodies:
            await caller.send(request(body))
            assert (await caller.answer()).status == 400
    assert len(upstream.heard) == 3
