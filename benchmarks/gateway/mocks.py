"""Mock upstreams as processes, and what may be asked of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.gateway.child import Command, end, free_port, started, wait_until_up

_LIMIT_S = 30.0


@dataclass
class MockProcess:
    """One mock upstream, on a port that it keeps when it goes and comes again."""

    port: int
    cores: tuple[int, ...]
    folder: Path
    knobs: Mapping[str, Any]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def state(self) -> dict[str, Any]:
        """Return its counters."""
        return self._ask("/admin/state")

    def turn(self, **changes: Any) -> None:
        """Turn knobs."""
        self._ask("/admin/knobs", changes)

    def reset(self) -> None:
        """Set its counters and limits back."""
        self._ask("/admin/reset", {})

    @contextlib.contextmanager
    def up(self) -> Iterator[MockProcess]:
        """Run it for the length of the block."""
        words = (sys.executable, "-m", "benchmarks.gateway.mock_upstream", "--port", str(self.port))
        knobs = json.dumps(dict(self.knobs))
        log = self.folder / f"mock-{self.port}.log"
        with started(Command((*words, "--knobs", knobs), self.cores, log, {})) as self.process:
            wait_until_up(f"{self.url}/health", self.process, log, _LIMIT_S)
            yield self

    def go(self) -> None:
        """End it before its block does."""
        assert self.process is not None
        end(self.process)

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=10) as answer:
            return cast("dict[str, Any]", json.load(answer))


@contextlib.contextmanager
def mocks_up(
    knobs: list[Mapping[str, Any]], cores: tuple[int, ...], folder: Path
) -> Iterator[list[MockProcess]]:
    """Run several, one for each set of knobs."""
    with contextlib.ExitStack() as stack:
        mocks = [MockProcess(free_port(), cores, folder, each) for each in knobs]
        yield [stack.enter_context(mock.up()) for mock in mocks]
