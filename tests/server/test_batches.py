from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from descant.schema.errors import InvalidConfig
from descant.server.batches.batch_input import InputLimits
from descant.server.batches.batch_runner import BatchConfig
from tests.server.batch_app import (
    SCORES,
    BatchServer,
    create,
    echo,
    ended,
    jsonl,
    lines_of,
    request_line,
    state,
    until,
    upload,
)


def number_of(body: bytes) -> int:
    number = json.loads(body)["number"]
    assert isinstance(number, int)
    return number


def test_every_line_is_answered_under_its_id(tmp_path: Path) -> None:
    async def mixed(url: str, body: bytes) -> tuple[int, bytes]:
        return (
            (400, b'{"error": {"code": "no"}}') if number_of(body) == 1 else await echo(url, body)
        )

    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client(mixed) as client:
            lines = [request_line(number) for number in range(20)]
            batch = await create(client, *lines, metadata={"run": "nightly"})
            assert batch | {"id": "", "input_file_id": ""} == {
                "id": "",
                "object": "batch",
                "endpoint": SCORES,
                "errors": None,
                "input_file_id": "",
                "completion_window": "24h",
                "status": "validating",
                "output_file_id": None,
                "error_file_id": None,
                "created_at": 1_700_000_000,
                "in_progress_at": None,
                "expires_at": 1_700_086_400,
                "finalizing_at": None,
                "completed_at": None,
                "failed_at": None,
                "expired_at": None,
                "cancelling_at": None,
                "cancelled_at": None,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
                "metadata": {"run": "nightly"},
            }
            done = await ended(client, batch)
            assert done["status"] == "completed"
            assert done["request_counts"] == {"total": 20, "completed": 19, "failed": 1}
            assert None not in (done["in_progress_at"], done["finalizing_at"], done["completed_at"])
            output = await lines_of(client, done["output_file_id"])
            assert {line["custom_id"] for line in output} == {f"r{n}" for n in range(20)} - {"r1"}
            for line in output:
                assert set(line) == {"id", "custom_id", "response", "error"}
                assert line["error"] is None
                assert line["response"]["status_code"] == 200
                number = line["response"]["body"]["got"]["number"]
                assert line["custom_id"] == f"r{number}"
                assert line["response"]["body"]["url"] == SCORES
            (wrong,) = await lines_of(client, done["error_file_id"])
            assert (wrong["custom_id"], wrong["response"]["status_code"]) == ("r1", 400)
            card = (await client.get(f"/v1/files/{done['output_file_id']}")).json()
            assert card["purpose"] == "batch_output"
            assert card["filename"].startswith(done["id"])

    asyncio.run(exchange())


def wrong(content: bytes, code: str, line: int | None = 1, param: str | None = None) -> Any:
    return pytest.param(content, code, line, param, id=f"{code}-{param}")


BROKEN = [
    wrong(b"", "empty_file", None),
    wrong(b"\n\n", "empty_file", None),
    wrong(b"{\n", "invalid_json_line"),
    wrong(b"[]\n", "invalid_json_line"),
    wrong(b"\xff\n", "invalid_json_line"),
    wrong(b"[" * 3000, "invalid_json_line"),
    wrong(b'{"a": NaN}', "invalid_json_line"),
    wrong(jsonl({"custom_id": "a"}), "missing_required_parameter", 1, "body"),
    wrong(jsonl(request_line(0, colour=1)), "unknown_parameter", 1, "colour"),
    wrong(jsonl(request_line(0, custom_id="")), "invalid_request", 1, "custom_id"),
    wrong(jsonl(request_line(0, custom_id=3)), "invalid_request", 1, "custom_id"),
    wrong(jsonl(request_line(0), request_line(0)), "duplicate_custom_id", 2, "custom_id"),
    wrong(jsonl(request_line(0, method="GET")), "invalid_method", 1, "method"),
    wrong(jsonl(request_line(0), request_line(1, url="/v1/x")), "url_mismatch", 2, "url"),
    wrong(jsonl(request_line(0, body=[])), "invalid_request", 1, "body"),
    wrong(jsonl(request_line(0, body={"stream": True})), "invalid_request", 1, "body.stream"),
    wrong(jsonl(*map(request_line, range(6))), "too_many_tasks", None),
    wrong(jsonl(request_line(0, body={"a": "x" * 5000})), "invalid_request", 1),
]


@pytest.mark.parametrize(("content", "code", "line", "param"), BROKEN)
def test_an_input_that_is_wrong_fails_before_any_line_is_answered(
    tmp_path: Path, content: bytes, code: str, line: int | None, param: str | None
) -> None:
    asked: list[bytes] = []

    async def answer(url: str, body: bytes) -> tuple[int, bytes]:
        asked.append(body)
        return await echo(url, body)

    async def exchange() -> None:
        server = BatchServer(tmp_path, input=InputLimits(5, line_bytes=4000))
        async with server.client(answer) as client:
            file = await upload(client, content)
            body = {"input_file_id": file["id"], "endpoint": SCORES, "completion_window": "24h"}
            batch = (await client.post("/v1/batches", json=body)).json()
            done = await ended(client, batch)
            assert (done["status"], done["output_file_id"]) == ("failed", None)
            assert done["failed_at"] is not None
            assert done["errors"]["object"] == "list"
            (error,) = done["errors"]["data"]
            assert (error["code"], error["line"], error["param"]) == (code, line, param)
            assert error["message"].endswith(".")

    asyncio.run(exchange())
    assert asked == []


def test_only_so_many_errors_are_listed_and_that_is_said(tmp_path: Path) -> None:
    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            batch = await create(client, *[request_line(n, method="PUT") for n in range(150)])
            errors = (await ended(client, batch))["errors"]["data"]
            assert len(errors) == 101
            assert errors[-1]["code"] == "too_many_errors"

    asyncio.run(exchange())


def test_requests_for_batches_are_checked(tmp_path: Path) -> None:
    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            file = await upload(client, jsonl(request_line(0)))
            good = {"input_file_id": file["id"], "endpoint": SCORES, "completion_window": "24h"}
            done = await ended(client, (await client.post("/v1/batches", json=good)).json())
            refused = [
                ({"endpoint": "/v1/files"}, 400, "endpoint"),
                ({"completion_window": "1h"}, 400, "completion_window"),
                ({"input_file_id": "file-0"}, 404, "file_id"),
                ({"input_file_id": done["output_file_id"]}, 400, "input_file_id"),
                ({"metadata": {"k": "x" * 513}}, 400, "metadata.k"),
                ({"priority": 1}, 400, "priority"),
            ]
            for change, status, param in refused:
                response = await client.post("/v1/batches", json={**good, **change})
                assert response.status_code == status, change
                assert response.json()["error"]["param"] == param
            assert (await client.get("/v1/batches/batch_0")).status_code == 404

    asyncio.run(exchange())


def test_batches_are_listed_newest_first_in_pages(tmp_path: Path) -> None:
    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client() as client:
            ids: list[str] = []
            for number in range(3):
                server.clock.now_s += 1
                ids.insert(0, (await create(client, request_line(number)))["id"])
            first = (await client.get("/v1/batches", params={"limit": 2})).json()
            assert [batch["id"] for batch in first["data"]] == ids[:2]
            assert first["has_more"]
            rest = await client.get("/v1/batches", params={"after": first["last_id"]})
            assert [batch["id"] for batch in rest.json()["data"]] == ids[2:]
            assert (await client.get("/v1/batches", params={"limit": 0})).status_code == 400

    asyncio.run(exchange())


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_a_while(tmp_path: Path, status: int) -> None:
    busy = {0: 3, 1: 1}

    async def answer(url: str, body: bytes) -> tuple[int, bytes]:
        number = number_of(body)
        if busy.get(number, 0):
            busy[number] -= 1
            return status, b"{}"
        return await echo(url, body)

    async def exchange() -> None:
        server = BatchServer(tmp_path, first_wait_s=1.0, longest_wait_s=2.0)
        async with server.client(answer) as client:
            done = await ended(client, await create(client, *map(request_line, range(4))))
            assert done["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
        assert sorted(server.clock.slept_s) == [1.0, 1.0, 2.0, 2.0]

    asyncio.run(exchange())


def test_patience_ends(tmp_path: Path) -> None:
    async def busy(_: str, __: bytes) -> tuple[int, bytes]:
        return 429, b'{"error": {"code": "out_of_kv_blocks"}}'

    async def exchange() -> None:
        server = BatchServer(tmp_path, patience_s=100.0)
        async with server.client(busy) as client:
            done = await ended(client, await create(client, request_line(0)))
            assert done["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
            (line,) = await lines_of(client, done["error_file_id"])
            assert line["response"]["body"]["error"]["code"] == "out_of_kv_blocks"
        assert sum(server.clock.slept_s) >= 100

    asyncio.run(exchange())


def test_a_batch_out_of_time_says_so_for_every_line_left(tmp_path: Path) -> None:
    async def exchange() -> None:
        server = BatchServer(tmp_path, lines_in_flight=1)

        async def slow(url: str, body: bytes) -> tuple[int, bytes]:
            server.clock.now_s += 20_000
            return await echo(url, body)

        async with server.client(slow) as client:
            done = await ended(client, await create(client, *map(request_line, range(9))))
            assert done["status"] == "expired"
            assert done["expired_at"] >= done["expires_at"]
            assert done["request_counts"] == {"total": 9, "completed": 5, "failed": 4}
            output = await lines_of(client, done["output_file_id"])
            errors = await lines_of(client, done["error_file_id"])
            assert {line["custom_id"] for line in output + errors} == {f"r{n}" for n in range(9)}
            assert {line["error"]["code"] for line in errors} == {"batch_expired"}
            assert {line["response"] for line in errors} == {None}

    asyncio.run(exchange())


def test_cancelling_lets_lines_in_flight_end_and_no_other_begin(tmp_path: Path) -> None:
    async def exchange() -> None:
        gate, all_began, asked = asyncio.Event(), asyncio.Event(), []

        async def gated(url: str, body: bytes) -> tuple[int, bytes]:
            asked.append(number_of(body))
            if len(asked) == 3:
                all_began.set()
            await gate.wait()
            return await echo(url, body)

        server = BatchServer(tmp_path, lines_in_flight=3)
        async with server.client(gated) as client:
            batch = await create(client, *map(request_line, range(10)))
            await asyncio.wait_for(all_began.wait(), 20)
            for _ in range(2):
                response = await client.post(f"/v1/batches/{batch['id']}/cancel")
                assert response.json()["status"] == "cancelling"
            gate.set()
            done = await ended(client, batch)
            assert (done["status"], sorted(asked)) == ("cancelled", [0, 1, 2])
            assert done["request_counts"] == {"total": 10, "completed": 3, "failed": 7}
            errors = await lines_of(client, done["error_file_id"])
            assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
            again = await client.post(f"/v1/batches/{batch['id']}/cancel")
            assert again.status_code == 409

    asyncio.run(exchange())


def test_a_batch_cancelled_at_once_answers_nothing(tmp_path: Path) -> None:
    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            batch = await create(client, request_line(0))
            await client.post(f"/v1/batches/{batch['id']}/cancel")
            done = await ended(client, batch)
            assert done["status"] == "cancelled"

    asyncio.run(exchange())


def test_lines_of_all_batches_in_flight_are_as_many_as_allowed_and_take_turns(
    tmp_path: Path,
) -> None:
    running, most, order = 0, 0, []

    async def watched(url: str, body: bytes) -> tuple[int, bytes]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(number_of(body) // 100)
        await asyncio.sleep(0.001)
        running -= 1
        return await echo(url, body)

    async def exchange() -> None:
        async with BatchServer(tmp_path, lines_in_flight=2).client(watched) as client:
            long = await create(client, *map(request_line, range(100)))
            short = await create(client, *map(request_line, range(100, 105)))
            assert (await ended(client, short))["status"] == "completed"
            assert (await state(client, long))["status"] == "in_progress"
            assert (await ended(client, long))["status"] == "completed"

    asyncio.run(exchange())
    assert most == 2


def test_a_line_that_cannot_be_answered_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(url: str, body: bytes) -> tuple[int, bytes]:
        if number_of(body) == 1:
            raise RuntimeError("secret detail")
        return (200, b"no JSON") if number_of(body) == 2 else await echo(url, body)

    async def exchange() -> None:
        async with BatchServer(tmp_path).client(failing) as client:
            done = await ended(client, await create(client, *map(request_line, range(4))))
            assert done["status"] == "completed"
            assert done["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
            errors = await lines_of(client, done["error_file_id"])
            assert {line["error"]["code"] for line in errors} == {"internal_error"}
            assert "secret" not in json.dumps(errors)

    asyncio.run(exchange())
    assert "secret detail" in caplog.text


def test_a_full_disk_delays_a_batch_and_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fsync, calls = os.fsync, 0

    def sometimes_full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    async def exchange() -> None:
        async with BatchServer(tmp_path).client() as client:
            batch = await create(client, *map(request_line, range(20)))
            monkeypatch.setattr(os, "fsync", sometimes_full)
            done = await ended(client, batch)
            assert (done["status"], done["request_counts"]["completed"]) == ("completed", 20)
            ids = [line["custom_id"] for line in await lines_of(client, done["output_file_id"])]
            assert sorted(ids) == sorted(f"r{n}" for n in range(20))

    asyncio.run(exchange())
    assert "disk is full" in caplog.text


def test_an_input_that_vanishes_fails_its_batch_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client() as client:
            file = await upload(client, jsonl(request_line(0)))
            (tmp_path / "files" / file["id"] / "content").unlink()
            body = {"input_file_id": file["id"], "endpoint": SCORES, "completion_window": "24h"}
            lost = (await client.post("/v1/batches", json=body)).json()
            failed = await ended(client, lost)
            assert failed["status"] == "failed"
            assert failed["errors"]["data"][0]["code"] == "internal_error"
            other = await ended(client, await create(client, request_line(1)))
            assert other["status"] == "completed"

    asyncio.run(exchange())
    assert "FileNotFoundError" in caplog.text


def test_a_stopped_server_goes_on_where_it_was(tmp_path: Path) -> None:
    answered: list[int] = []

    async def exchange() -> None:
        server = BatchServer(tmp_path, lines_in_flight=2)

        async def first(url: str, body: bytes) -> tuple[int, bytes]:
            if number_of(body) >= 5:
                await asyncio.Event().wait()
            answered.append(number_of(body))
            return await echo(url, body)

        async def second(url: str, body: bytes) -> tuple[int, bytes]:
            answered.append(number_of(body))
            return await echo(url, body)

        async with server.client(first) as client:
            batch = await create(client, *map(request_line, range(12)))
            await until(client, batch, lambda card: card["request_counts"]["completed"] == 5)
        async with server.client(second) as client:
            done = await ended(client, batch)
            assert done["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
            assert len(await lines_of(client, done["output_file_id"])) == 12

    asyncio.run(exchange())
    assert sorted(answered) == list(range(12))


@pytest.mark.parametrize("dies_before", range(1, 6))
def test_a_batch_that_stops_while_it_is_published_has_each_file_once(
    tmp_path: Path, dies_before: int
) -> None:
    async def mixed(url: str, body: bytes) -> tuple[int, bytes]:
        return (400, b"{}") if number_of(body) == 1 else await echo(url, body)

    async def exchange() -> None:
        server = BatchServer(tmp_path)
        async with server.client(mixed) as client:
            batch = await create(client, *map(request_line, range(3)))
            await ended(client, batch)
        document = next((tmp_path / "batches").glob("*/document.json"))
        final = json.loads(document.read_text())
        _rewind(tmp_path, document, final, dies_before)
        async with server.client(mixed) as client:
            done = await ended(client, batch)
            assert done["status"] == "completed"
            assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
            assert done["output_file_id"] == final["output_file_id"]
            assert len(await lines_of(client, done["output_file_id"])) == 2
            assert len(await lines_of(client, done["error_file_id"])) == 1
            assert len((await client.get("/v1/files")).json()["data"]) == 3

    asyncio.run(exchange())


def _rewind(folder: Path, document: Path, final: dict[str, Any], step: int) -> None:
    """Put the disk in the state it had before one of the last steps of a batch.

    1: lines are answered; 2: it is finalizing; 3: described in place; 4: one file; 5: both files.
    """
    names = [("output", final["answers_id"]), ("errors", final["errors_id"])]
    for name, file_id in names[max(0, step - 3) :]:
        moved = document.parent / name
        os.rename(folder / "files" / file_id, moved)
        if step != 3:
            (moved / "document.json").unlink()
    before = {**final, "status": "finalizing", "completed_at": None}
    before |= {"output_file_id": None, "error_file_id": None}
    if step == 1:
        before |= {"status": "in_progress", "outcome": None, "completed": 0, "failed": 0}
    document.write_text(json.dumps(before))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_upload_bytes": 0}, "max_upload_bytes"),
        ({"lines_in_flight": 0}, "lines_in_flight"),
        ({"first_wait_s": 0.0}, "first_wait_s"),
        ({"first_wait_s": 90.0}, "first_wait_s"),
    ],
)
def test_limits_out_of_range_are_refused(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        BatchConfig(tmp_path, **change)
    assert caught.value.field == field
