"""``descant serve`` as a process of its own, on a loopback port, over a tiny random model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.server.served import WAIT_S

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Process:
    """A server that was started, and what it says on standard error."""

    popen: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    address: str = ""
    listener: threading.Thread = field(default_factory=threading.Thread)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def text(self) -> str:
        return "".join(self.said)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.popen.kill()
        self.wait()

    def tell_to_stop(self) -> None:
        """Send SIGTERM."""
        self.popen.send_signal(signal.SIGTERM)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.tell_to_stop()
        return self.wait()

    def wait(self) -> int:
        """Return the exit code, once the process has ended."""
        code = self.popen.wait(WAIT_S)
        self.listener.join(WAIT_S)
        assert self.popen.stderr is not None
        self.popen.stderr.close()
        return code

    def client(self, **more: object) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=WAIT_S, **more)  # type: ignore[arg-type]

    def figures(self) -> dict[str, float]:
        """Every sample in /metrics, by its name; those of one name added up."""
        return figures_in(httpx.get(f"{self.address}/metrics", timeout=WAIT_S).text)

    def rss_bytes(self) -> int:
        return status_bytes(self.pid, "VmRSS")

    def wait_idle(self) -> dict[str, float]:
        """Wait until nothing runs; return the figures then."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            now = self.figures()
            if not now["vllm:num_requests_running"] + now["vllm:num_requests_waiting"]:
                return now
            time.sleep(0.05)
        raise AssertionError(f"Requests are left: {now}")


def figures_in(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in re.findall(r"^([a-z_:]+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def status_bytes(pid: int, field_name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [kib] = re.findall(rf"^{field_name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kib) * 1024


def start(folder: Path, *options: str, site: Path | None = None) -> Process:
    """Start a server of the model, and adapters if any, in a folder; return it when it answers.

    What is in `site` is imported first, where it has a ``sitecustomize.py``.
    """
    command = [
        *(sys.executable, "-m", "descant", "serve", "--port", "0", "--served-name", "tiny"),
        *("--model", str(folder / "model"), "--kv-cache-gib", "0.02", "--threads", "1", *options),
    ]
    if (folder / "adapters").is_dir():
        command += ["--adapters", str(folder / "adapters")]
    places = [*([site] if site else []), REPOSITORY / "src", REPOSITORY]
    paths = os.pathsep.join(map(str, places))
    popen = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "500"},
    )
    process, is_up = Process(popen), threading.Event()

    def listen() -> None:
        assert popen.stderr is not None
        for line in popen.stderr:
            process.said.append(line)
            if found := re.search(r"on (http://\S+);", line):
                process.address = found[1]
                is_up.set()
        is_up.set()

    process.listener = threading.Thread(target=listen, daemon=True)
    process.listener.start()
    if not is_up.wait(2 * WAIT_S) or not process.address:
        process.kill()
        raise AssertionError(f"The server did not start:\n{process.text}")
    httpx.get(f"{process.address}/health", timeout=WAIT_S)
    return process


@contextmanager
def serving(folder: Path, *options: str, site: Path | None = None) -> Iterator[Process]:
    """Serve until the block ends."""
    process = start(folder, *options, site=site)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.kill()
