from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from descant.schema.errors import InvalidConfig
from descant.server.keys import Keys
from tests.server.batch_app import BatchServer, create, ended, request_line, upload


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "files").iterdir())


def test_a_file_comes_back_as_it_was_sent_and_outlives_the_server(tmp_path: Path) -> None:
    content = os.urandom(300_000)

    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client() as client:
            card = await upload(client, content)
        assert card | {"id": ""} == {
            "id": "",
            "object": "file",
            "bytes": 300_000,
            "created_at": 1_700_000_000,
            "filename": "in.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
        async with server.client() as client:
            path = f"/v1/files/{card['id']}"
            assert (await client.get(path)).json() == card
            assert (await client.get(f"{path}/content")).content == content
            deleted = await client.delete(path)
            assert deleted.json() == {"id": card["id"], "object": "file", "deleted": True}
            for gone in (path, f"{path}/content"):
                response = await client.get(gone)
                assert response.status_code == 404
                assert response.json()["error"]["code"] == "not_found"
        assert stored(tmp_path) == []

    asyncio.run(exchange())


def test_lists_are_cut_into_pages(tmp_path: Path) -> None:
    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client() as client:
            ids = []
            for number in range(3):
                server.clock.now_s += 1
                ids.append((await upload(client, b"%d" % number))["id"])

            async def listed(**query: Any) -> dict[str, Any]:
                page: dict[str, Any] = (await client.get("/v1/files", params=query)).json()
                assert page["object"] == "list"
                return page

            assert [card["id"] for card in (await listed())["data"]] == ids[::-1]
            first = await listed(order="asc", limit=2)
            assert [card["id"] for card in first["data"]] == ids[:2]
            assert (first["first_id"], first["last_id"], first["has_more"]) == (*ids[:2], True)
            rest = await listed(order="asc", limit=2, after=first["last_id"])
            assert [card["id"] for card in rest["data"]] == ids[2:]
            assert not rest["has_more"]
            none = await listed(purpose="batch_output")
            assert (none["data"], none["first_id"], none["has_more"]) == ([], None, False)
            unknown = await client.get("/v1/files", params={"after": "file-0"})
            assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "after")

    asyncio.run(exchange())


FORM = {"purpose": "batch"}
FILE = {"file": ("a.jsonl", b"{}")}
MALFORMED = [
    ({"files": FILE, "data": {}}, "purpose"),
    ({"files": FILE, "data": {"purpose": "fine-tune"}}, "purpose"),
    ({"files": FILE, "data": {**FORM, "colour": "red"}}, "colour"),
    ({"files": FILE, "data": {"purpose": "x" * 2000}}, "purpose"),
    ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))], "data": FORM}, "file"),
    ({"files": {"purpose": (None, b"batch")}}, "file"),
    ({"json": {"file": "a", "purpose": "batch"}}, None),
    ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data"}}, None),
    ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "file"),
    ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "file"),
]


@pytest.mark.parametrize(("arguments", "param"), MALFORMED)
def test_a_form_that_is_not_right_is_refused_and_nothing_stays(
    tmp_path: Path, arguments: dict[str, Any], param: str | None
) -> None:
    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            response = await client.post("/v1/files", **arguments)
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
        assert stored(tmp_path) == []

    asyncio.run(exchange())


def test_too_large_uploads_are_refused_whether_or_not_they_say_so(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(60):
            yield b"x" * 1000

    async def exchange() -> None:
        async with BatchServer(tmp_path, max_upload_bytes=50_000).client() as client:
            # Larger than other requests may be.
            assert (await upload(client, b"x" * 40_000))["bytes"] == 40_000
            headers = {"content-type": "multipart/form-data; boundary=b"}
            streamed = await client.post("/v1/files", content=body(), headers=headers)
            declared = await client.post(
                "/v1/files", files={"file": ("a", b"x" * 50_000)}, data=FORM
            )
            for response in (streamed, declared):
                assert response.status_code == 413
                assert response.json()["error"]["code"] == "request_too_large"
                assert "x-request-id" in response.headers
        assert len(stored(tmp_path)) == 1

    asyncio.run(exchange())


def test_uploads_are_on_disk_while_they_arrive(tmp_path: Path) -> None:
    seen = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal seen
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(10):
            yield b"x" * 100_000
            (draft,) = (tmp_path / "files").glob(".*/content")
            seen = max(seen, draft.stat().st_size)
        yield b'\r\n--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'

    async def exchange() -> None:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        async with BatchServer(tmp_path).client() as client:
            response = await client.post("/v1/files", content=body(), headers=headers)
            assert response.json()["bytes"] == 1_000_000
            content = await client.get(f"/v1/files/{response.json()['id']}/content")
            assert content.content == b"x" * 1_000_000

    asyncio.run(exchange())
    assert seen >= 500_000


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir", "replace"])
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            with monkeypatch.context() as patch:
                patch.setattr(os, call, full)
                response = await client.post("/v1/files", files=FILE, data=FORM)
            assert response.status_code == 507
            error = response.json()["error"]
            assert error["code"] == "storage_full"
            assert str(tmp_path) not in error["message"]
            assert stored(tmp_path) == []
            await upload(client, b"{}")

    asyncio.run(exchange())


def test_a_caller_who_leaves_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nxx'
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": head, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            transport = client._transport
            assert isinstance(transport, httpx.ASGITransport)
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/files",
                "query_string": b"",
                "headers": [(b"content-type", b"multipart/form-data; boundary=b")],
            }
            await transport.app(scope, receive, send)

    asyncio.run(exchange())
    assert sent == []
    assert stored(tmp_path) == []


def test_what_a_kill_left_is_removed_and_a_folder_has_one_server(tmp_path: Path) -> None:
    half = tmp_path / "files" / ".0123"
    half.mkdir(parents=True)
    (half / "content").write_bytes(b"half")

    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client() as client:
            assert not half.exists()
            assert (await client.get("/v1/files")).json()["data"] == []
            with pytest.raises(InvalidConfig, match="Another server"):
                async with server.client():
                    pass
        async with server.client():
            pass

    asyncio.run(exchange())


def test_a_folder_that_cannot_be_used_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")

    async def exchange() -> None:
        async with BatchServer(tmp_path / "taken" / "batches").client():
            pass

    with pytest.raises(InvalidConfig) as caught:
        asyncio.run(exchange())
    assert caught.value.field == "folder"


def test_a_file_that_a_batch_reads_stays(tmp_path: Path) -> None:
    async def stuck(_: str, __: bytes) -> tuple[int, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    async def exchange() -> None:
        async with BatchServer(tmp_path).client(stuck) as client:
            batch = await create(client, request_line(0))
            response = await client.delete(f"/v1/files/{batch['input_file_id']}")
            assert response.status_code == 409

    asyncio.run(exchange())


def test_tenants_do_not_see_each_others_files_and_batches(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        "".join(
            f'[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
            for name in ("ann", "bob")
        )
    )

    async def exchange() -> None:
        server = BatchServer(tmp_path / "batches", Keys(path))
        async with server.client() as client:
            assert (await client.get("/v1/files")).status_code == 401
            client.headers["authorization"] = "Bearer ann"
            batch = await create(client, request_line(0))
            assert (await ended(client, batch))["status"] == "completed"
            file = batch["input_file_id"]
            client.headers["authorization"] = "Bearer bob"
            assert (await client.get("/v1/files")).json()["data"] == []
            assert (await client.get("/v1/batches")).json()["data"] == []
            body = {"input_file_id": file, "endpoint": "/v1/scores", "completion_window": "24h"}
            tries = [
                await client.get(f"/v1/files/{file}"),
                await client.get(f"/v1/files/{file}/content"),
                await client.delete(f"/v1/files/{file}"),
                await client.get(f"/v1/batches/{batch['id']}"),
                await client.post(f"/v1/batches/{batch['id']}/cancel"),
                await client.post("/v1/batches", json=body),
            ]
            assert [response.status_code for response in tries] == [404] * 6
        assert server.callers == ["ann"]

    asyncio.run(exchange())
