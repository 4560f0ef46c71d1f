"""A real server and what can go wrong around it: killed, told to stop, out of room, badly treated."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.live import write_served
from tests.server.process import WAIT_S, Process, serving, start
from tests.server.served import CONVERSATION

CHAT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}
KIB_IN_GIB = 1 / (1 << 20)
LINES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Process]:
    with serving(folder) as process:
        yield process


def chat(model: str = "tiny", tokens: int = 8, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello there"}]
    body = {"model": model, "messages": messages, "max_tokens": tokens, "ignore_eos": True}
    return {**body, "temperature": 0, **more}


def ask(server: Process, body: dict[str, Any], path: str = CHAT) -> httpx.Response:
    return httpx.post(f"{server.address}{path}", json=body, timeout=WAIT_S)


def ask_all(server: Process, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda body: ask(server, body), bodies))


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert isinstance(error, dict)
    return error


def assert_nothing_is_held(server: Process) -> None:
    figures = server.wait_idle()
    assert figures["vllm:kv_cache_usage_perc"] == 0
    assert figures["descant_adapters_used"] == 0


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


# Batches


def begin_batch(server: Process, count: int, tokens: int) -> str:
    lines = [
        json.dumps({"custom_id": f"r{at}", "method": "POST", "url": CHAT, "body": chat(**more)})
        for at in range(count)
        for more in [{"model": ("tiny", "polite", "mood")[at % 3], "tokens": tokens}]
    ]
    file = upload(server, "\n".join(lines))
    assert file.status_code == 200, file.text
    asked = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = ask(server, asked, "/v1/batches")
    assert batch.status_code == 200, batch.text
    id: str = batch.json()["id"]
    return id


def upload(server: Process, text: str) -> httpx.Response:
    return httpx.post(
        f"{server.address}/v1/files",
        files={"file": ("in.jsonl", text.encode())},
        data={"purpose": "batch"},
        timeout=WAIT_S,
    )


def batch_of(server: Process, id: str) -> dict[str, Any]:
    card: dict[str, Any] = httpx.get(f"{server.address}/v1/batches/{id}", timeout=WAIT_S).json()
    return card


def completed(server: Process, id: str) -> int:
    count: int = batch_of(server, id)["request_counts"]["completed"]
    return count


def assert_every_line_once(server: Process, id: str, count: int) -> None:
    until(lambda: batch_of(server, id)["status"] in ENDED)
    card = batch_of(server, id)
    assert (card["status"], card["error_file_id"]) == ("completed", None)
    content = httpx.get(f"{server.address}/v1/files/{card['output_file_id']}/content")
    lines = [json.loads(line) for line in content.text.splitlines()]
    assert sorted(line["custom_id"] for line in lines) == sorted(f"r{at}" for at in range(count))
    assert {line["response"]["status_code"] for line in lines} == {200}


def test_a_batch_goes_on_after_a_kill_and_answers_every_line_once(
    folder: Path, tmp_path: Path
) -> None:
    options = ("--batches", str(tmp_path))
    with serving(folder, *options) as first:
        id = begin_batch(first, LINES, tokens=20)
        until(lambda: completed(first, id) >= 5)
        first.kill()
    with serving(folder, *options) as second:
        assert_every_line_once(second, id, LINES)
        assert second.terminate() == 0


@pytest.mark.slow
def test_a_batch_that_is_told_to_stop_goes_on_too(folder: Path, tmp_path: Path) -> None:
    options = ("--batches", str(tmp_path), "--drain-s", "5")
    with serving(folder, *options) as first:
        id = begin_batch(first, LINES, tokens=20)
        until(lambda: completed(first, id) >= 5)
        assert first.terminate() == 0
    with serving(folder, *options) as second:
        assert completed(second, id) < LINES
        assert_every_line_once(second, id, LINES)


def test_a_full_disk_is_said_and_the_batch_waits(folder: Path, tmp_path: Path) -> None:
    site, is_full = tmp_path / "site", tmp_path / "disk-is-full"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FULL_DISK.format(is_full=str(is_full)))
    options = ("--batches", str(tmp_path / "batches"))
    with serving(folder, *options, site=site) as first:
        id = begin_batch(first, LINES, tokens=20)
        until(lambda: completed(first, id) >= 5)
        is_full.touch()
        refused = upload(first, "{}")
        assert (refused.status_code, error_of(refused)["code"]) == (507, "storage_full")
        until(lambda: f"Batch {id} waits" in first.text)
        assert batch_of(first, id)["status"] == "in_progress"
        assert ask(first, chat()).status_code == 200
        assert first.terminate() == 0
    is_full.unlink()
    with serving(folder, *options, site=site) as second:
        assert_every_line_once(second, id, LINES)


FULL_DISK = """
import errno, os

write, fsync = os.write, os.fsync

def unless_full(function):
    def call(*arguments):
        if os.path.exists({is_full!r}):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments)
    return call

os.write, os.fsync = unless_full(write), unless_full(fsync)
"""


# Adapters


@pytest.mark.slow
def test_a_kill_while_adapters_are_loaded_leaves_nothing_half_there(
    folder: Path, tmp_path: Path
) -> None:
    before = sorted(path.name for path in (folder / "adapters").rglob("*"))
    with serving(folder, "--batches", str(tmp_path)) as first, ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load_again, first, f"new-{at}") for at in range(4)]
        until(lambda: first.figures()["descant_adapter_loads_total"] >= 8)
        first.kill()
        assert all(load.result() for load in loads)
    with serving(folder) as second:
        listed = httpx.get(f"{second.address}/v1/adapters").json()["data"]
        assert sorted(row["name"] for row in listed) == ["mood", "polite"]
        assert {ask(second, chat(name)).status_code for name in ("mood", "polite")} == {200}
        assert ask(second, chat("new-0")).status_code == 404
    assert sorted(path.name for path in (folder / "adapters").rglob("*")) == before


def load_again(server: Process, name: str) -> bool:
    """Load and unload an adapter until the server is gone; return whether all was well before."""
    body = {"lora_name": name, "lora_path": server_adapter(server), "load_inplace": True}
    for _ in range(10_000):
        try:
            statuses = {
                ask(server, body, "/v1/load_lora_adapter").status_code,
                ask(server, {"lora_name": name}, "/v1/unload_lora_adapter").status_code,
            }
        except httpx.TransportError:
            return True
        if statuses != {200}:
            return False
    return False


def server_adapter(server: Process) -> str:
    arguments = server.popen.args
    assert isinstance(arguments, list)
    return str(Path(arguments[arguments.index("--adapters") + 1]) / "polite")


def test_a_folder_that_is_deleted_under_load_fails_nobody_who_has_begun(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "served"))
    with serving(copy, "--adapter-host-gib", "0") as server, server.client() as client:
        body = chat("polite", tokens=400, stream=True)
        with client.stream("POST", CHAT, json=body) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            shutil.rmtree(copy / "adapters" / "polite")
            bodies = [chat(name) for name in ("polite", "mood", "tiny")] * 4
            answers = ask_all(server, bodies)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        for answer, asked in zip(answers, bodies, strict=True):
            assert answer.status_code == (404 if asked["model"] == "polite" else 200)
        assert error_of(answers[0])["code"] == "adapter_not_found"
        assert_nothing_is_held(server)


def test_a_pool_smaller_than_the_working_set_serves_all_in_turn(folder: Path) -> None:
    with serving(folder, "--adapter-gib", str(KIB_IN_GIB)) as server:
        answers = ask_all(server, [chat(name) for name in ("polite", "mood", "tiny") * 8])
        assert {answer.status_code for answer in answers} == {200}
        card = ask(server, {"conversation": CONVERSATION}, "/v1/scores").json()
        assert [answer["unanswered"] for answer in card["answers"]] == [None, None]
        figures = server.figures()
        assert figures["descant_adapters_active"] == 1
        assert figures["descant_adapter_evictions_total"] > 1
        assert_nothing_is_held(server)


def test_unknown_models_are_refused_under_load(server: Process) -> None:
    names = ["tiny", "nobody", "polite", "mood@sha256:12345678"] * 10
    for answer, name in zip(ask_all(server, [chat(n) for n in names]), names, strict=True):
        if name in ("tiny", "polite"):
            assert answer.status_code == 200
        else:
            assert answer.status_code == 404
            assert error_of(answer)["code"] in ("adapter_not_found", "model_not_found")
    assert_nothing_is_held(server)


# Room


def test_too_little_cache_refuses_what_cannot_fit_and_serves_the_rest_in_turn(
    folder: Path,
) -> None:
    with serving(folder, "--kv-cache-gib", str(64 * KIB_IN_GIB)) as server:
        bodies = [chat(tokens=200), chat(tokens=100_000), chat("mood", tokens=150)] * 6
        for answer, asked in zip(ask_all(server, bodies), bodies, strict=True):
            if asked["max_tokens"] < 1000:
                assert answer.status_code == 200, answer.text
                assert answer.json()["usage"]["completion_tokens"] == asked["max_tokens"]
            else:
                assert answer.status_code == 400
                assert error_of(answer)["code"] in ("context_too_long", "out_of_kv_blocks")
        assert_nothing_is_held(server)


def test_more_requests_than_are_taken_get_429_and_may_come_again(folder: Path) -> None:
    with serving(folder, "--max-requests", "2") as server:
        answers = ask_all(server, [chat(tokens=60)] * 16)
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        busy = answers[statuses.index(429)]
        assert (error_of(busy)["type"], error_of(busy)["code"]) == ("rate_limit_error", "too_busy")
        assert "retry-after" in busy.headers
        assert ask(server, chat()).status_code == 200


# Callers


@pytest.mark.slow
def test_who_reads_slowly_holds_up_nobody_and_takes_little_memory(server: Process) -> None:
    body = json.dumps(chat(tokens=3000, stream=True, logprobs=True, top_logprobs=20)).encode()
    host, port = server.address.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(WAIT_S)
        slow.connect((host, int(port)))
        slow.sendall(_request(CHAT, len(body)) + body)
        first = slow.recv(100)
        assert first.startswith(b"HTTP/1.1 200")
        before = server.rss_bytes()
        assert {answer.status_code for answer in ask_all(server, [chat(tokens=20)] * 32)} == {200}
        server.wait_idle()
        assert server.rss_bytes() - before < 64 << 20
        received = bytearray(first)
        while not received.endswith(b"0\r\n\r\n"):
            received += slow.recv(1 << 16)
    assert received.rstrip().endswith(b"data: [DONE]\n\n\r\n0")
    assert received.count(b'"content":[{"token"') >= 2900


def test_who_leaves_a_stream_unread_is_forgotten(server: Process) -> None:
    body = json.dumps(chat(tokens=8000, stream=True)).encode()
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), WAIT_S) as leaving:
        leaving.sendall(_request(CHAT, len(body)) + body)
        assert leaving.recv(100).startswith(b"HTTP/1.1 200")
    assert_nothing_is_held(server)


def _request(path: str, num_bytes: int | None) -> bytes:
    length = "transfer-encoding: chunked" if num_bytes is None else f"content-length: {num_bytes}"
    kind = "content-type: application/json"
    return f"POST {path} HTTP/1.1\r\nhost: test\r\n{kind}\r\n{length}\r\n\r\n".encode()


@pytest.mark.parametrize("declared", [100 << 20, None])
def test_a_hundred_megabytes_are_refused_unread(server: Process, declared: int | None) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    before, sent = server.rss_bytes(), 0
    piece = b"x" * (1 << 16) if declared else b"10000\r\n" + b"x" * (1 << 16) + b"\r\n"
    with socket.create_connection((host, int(port)), WAIT_S) as large:
        large.sendall(_request(CHAT, declared))
        try:
            while sent < 100 << 20:
                sent += large.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert large.recv(100).startswith(b"HTTP/1.1 413")
    # What lies in the buffers between has been sent and is not read either.
    assert sent < 30 << 20
    assert server.rss_bytes() - before < 32 << 20
    assert ask(server, chat()).status_code == 200


# Signals


def test_a_first_signal_lets_what_runs_end_and_takes_nothing_new(folder: Path) -> None:
    with serving(folder) as server, server.client() as client:
        with client.stream("POST", CHAT, json=chat(tokens=1500, stream=True)) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            server.tell_to_stop()
            until(lambda: httpx.get(f"{server.address}/ready").status_code == 503)
            refused = ask(server, chat())
            assert (refused.status_code, error_of(refused)["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) > 0
            told = [line for line in lines if line]
        assert told[-1] == "data: [DONE]"
        assert (
            json.loads(told[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        )
        assert server.wait() == 0
        assert "Stopped." in server.text


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with serving(folder) as server, server.client() as client:
        with client.stream("POST", CHAT, json=chat(tokens=8000, stream=True)) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            server.tell_to_stop()
            until(lambda: httpx.get(f"{server.address}/ready").status_code == 503)
            server.tell_to_stop()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        assert server.wait() == 130


@pytest.mark.slow
def test_what_takes_too_long_is_broken_off_in_the_end(folder: Path) -> None:
    with serving(folder, "--drain-s", "0.1") as server, server.client() as client:
        with client.stream("POST", CHAT, json=chat(tokens=16000, stream=True)) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            server.tell_to_stop()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        assert server.wait() == 0


def test_an_idle_server_that_is_told_to_stop_frees_its_port(folder: Path) -> None:
    server = start(folder)
    assert server.terminate() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/health")
