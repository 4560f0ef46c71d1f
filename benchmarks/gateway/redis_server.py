"""A Redis of one's own, which can be gone for a while."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.child import Command, end, free_port, started

_STARTS_WITHIN_S = 10.0


@dataclass
class RedisServer:
    """``redis-server`` on a loopback port that it keeps; nothing is kept on disk."""

    port: int
    cores: tuple[int, ...]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @contextlib.contextmanager
    def up(self) -> Iterator[RedisServer]:
        """Run it for the length of the block."""
        words = ("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "")
        log = self.folder / "redis.log"
        with started(Command(words, self.cores, log, {})) as self.process:
            self._wait()
            yield self

    def go(self) -> None:
        """End it before its block does."""
        assert self.process is not None
        end(self.process)

    def _wait(self) -> None:
        ends_s = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < ends_s:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.05)
        raise RuntimeError("redis-server does not answer.")


def own_redis(cores: tuple[int, ...], folder: Path) -> RedisServer | None:
    """Return one that is not up yet, or None where the program is not installed."""
    return RedisServer(free_port(), cores, folder) if shutil.which("redis-server") else None
