from __future__ import annotations

import os
import signal
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

from descant.cli.serve import listen, open_log, run_server
from descant.schema.errors import InvalidConfig
from descant.server import create_app
from tests.cli.test_app import run
from tests.server.served import serve_tiny


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
