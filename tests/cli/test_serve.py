from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

from descant.cli.serve import adapters_folder, listen, open_log, run_server
from descant.schema.errors import AdapterNotFound, InvalidConfig
from descant.server import create_app
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_model
from tests.server.live import write_served
from tests.server.process import serving
from tests.server.served import serve_tiny

CHAT = {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 3}


def test_a_port_in_use_and_a_host_nobody_knows_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "no host"):
            with pytest.raises(InvalidConfig) as caught:
                listen(host, port)
            assert caught.value.field == "port"


def test_a_port_out_of_range_is_a_mistake_in_the_command() -> None:
    assert run("serve", "--port", "70000") == 2


def test_a_log_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        open_log(tmp_path / "missing" / "log.jsonl")
    assert caught.value.field == "request_log"


def test_an_interrupt_stops_the_server_in_good_order(tmp_path: Path) -> None:
    app = create_app(*serve_tiny(tmp_path))
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    statuses: list[int] = []

    def ask_then_interrupt() -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:
                statuses.append(response.status)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    caller = threading.Thread(target=ask_then_interrupt)
    caller.start()
    run_server(app, listener)
    caller.join()
    assert statuses == [200]
    assert "descant-engine" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_adapters_that_were_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert adapters_folder(None) is None
    assert adapters_folder(tmp_path) == tmp_path
    with pytest.raises(AdapterNotFound, match="no folder"):
        adapters_folder(tmp_path / "missing")
    (tmp_path / "runs" / "demo" / "adapters").mkdir(parents=True)
    assert adapters_folder(None) == Path("runs/demo/adapters")


def test_a_size_of_nothing_is_a_mistake_in_the_command() -> None:
    assert run("serve", "--port", "0", "--kv-cache-gib", "0") == 2


def test_a_model_alone_is_served_to_those_who_have_a_key(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    digest = hashlib.sha256(b"secret").hexdigest()
    (tmp_path / "keys.toml").write_text(f'[[keys]]\nname = "one"\nsha256 = "{digest}"\n')
    options = ("--keys", str(tmp_path / "keys.toml"), "--max-request-mib", "0.001")
    with serving(tmp_path, *options) as server:
        with server.client() as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
        with server.client(headers={"authorization": "Bearer secret"}) as client:
            told = client.post("/v1/chat/completions", json={"model": "tiny", **CHAT})
            assert (told.status_code, told.json()["model"]) == (200, "tiny")
            assert [row["id"] for row in client.get("/v1/models").json()["data"]] == ["tiny"]
            large = client.post("/v1/chat/completions", content=b" " * 2000)
            assert large.status_code == 413
            turns = {"turns": [{"speaker": "agent", "text": "hello"}]}
            assert client.post("/v1/scores", json={"conversation": turns}).json()["answers"] == []
            assert client.get("/v1/batches").status_code == 404
        assert server.terminate() == 0


def test_adapters_are_loaded_at_the_start_or_from_elsewhere_when_so_asked(tmp_path: Path) -> None:
    folder, root = write_served(tmp_path / "served"), tmp_path / "root"
    shutil.copytree(folder / "adapters" / "polite", root / "kind")
    shutil.copytree(folder / "adapters" / "polite", tmp_path / "elsewhere" / "kind")
    options = ("--preload", "--adapter-root", str(root), "--batches", str(tmp_path / "batches"))
    with serving(folder, *options) as server, server.client() as client:
        listed = client.get("/v1/adapters").json()["data"]
        assert {row["name"]: row["state"] for row in listed} == {"mood": "host", "polite": "host"}
        assert client.get("/v1/batches").json()["data"] == []
        for place, status in ((tmp_path / "elsewhere", 400), (root, 200)):
            body = {"lora_name": "kind", "lora_path": str(place / "kind")}
            assert client.post("/v1/load_lora_adapter", json=body).status_code == status
        told = client.post("/v1/chat/completions", json={"model": "kind", **CHAT})
        assert told.status_code == 200
    with serving(folder) as server, server.client() as client:
        listed = client.get("/v1/adapters").json()["data"]
        assert {row["state"] for row in listed} == {"registered"}
