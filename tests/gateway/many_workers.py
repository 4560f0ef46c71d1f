"""``descant gateway --workers 2`` as its users start it: processes of its own on loopback ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.limits.redis_server import free_port
from tests.gateway.running import Asking

NUM_WORKERS = 2
_UP_WITHIN_S = 60.0


@dataclass
class ManyWorkers(Asking):
    """What a test does with them."""

    process: subprocess.Popen[bytes] = field(repr=False)
    metrics_port: int
    log: Path

    def pids(self) -> list[int]:
        """Return the workers' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split() if is_worker(int(pid))]

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Let every new connection come to this worker."""
        others = [other for other in self.pids() if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    async def ask_anew(self, text: str = "Hello", **body: Any) -> int:
        """Return the status of a chat over a connection of its own."""
        async with aiohttp.ClientSession() as client:
            return (await Asking(self.url, client).chat(text, **body)).status

    async def figures(self, worker: int) -> dict[str, float]:
        """Return the metrics without labels of one worker."""
        url = f"http://127.0.0.1:{self.metrics_port + worker}/metrics"
        async with aiohttp.ClientSession() as client, client.get(url) as response:
            text = await response.text()
        return {
            sample.name.removeprefix("descant_gateway_"): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if set(sample.labels) == {"worker"}
        }

    async def until_figure(self, worker: int, name: str, value: float) -> None:
        """Wait until a worker tells this."""
        async with asyncio.timeout(_UP_WITHIN_S):
            while True:
                try:
                    if (await self.figures(worker)).get(name) == value:
                        return
                except aiohttp.ClientError:
                    pass  # It begins.
                await asyncio.sleep(0.05)


@asynccontextmanager
async def many_workers(file: Path) -> AsyncIterator[ManyWorkers]:
    """Run the gateway of a file, which is told where to tell metrics."""
    async with aiohttp.ClientSession() as client:
        running = _start(file, client)
        try:
            for worker in range(NUM_WORKERS):
                await running.until_figure(worker, "in_flight", 0)
            while running.log.read_bytes().count(b"startup complete") < NUM_WORKERS:
                await asyncio.sleep(0.05)
            yield running
        finally:
            running.process.terminate()
            try:
                await asyncio.to_thread(running.process.wait, 30)
            finally:
                running.process.kill()


def _start(file: Path, client: aiohttp.ClientSession) -> ManyWorkers:
    metrics_port, port = _two_free_ports(), free_port()
    server = f"[server]\ndrain_s = 20\nmetrics_port = {metrics_port}\n"
    file.write_text(f"{file.read_text()}\n{server}")
    words = [sys.executable, "-m", "descant", "gateway", str(file)]
    words += ["--port", str(port), "--workers", str(NUM_WORKERS)]
    log = file.with_name("gateway.log")
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
    return ManyWorkers(f"http://127.0.0.1:{port}", client, process, metrics_port, log)


def is_worker(pid: int) -> bool:
    """Return whether this process is there and serves."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def _two_free_ports() -> int:
    while True:
        first = free_port()
        if first < 65_535 and _is_free(first + 1):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
