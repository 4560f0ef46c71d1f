"""``descant gateway`` as a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 60.0
REPOSITORY = Path(__file__).parents[2]


@contextmanager
def gateway_process(file: Path, **environment: str) -> Iterator[str]:
    """Run the gateway of a file until the block ends; yields its address."""
    paths = os.pathsep.join(map(str, (REPOSITORY / "src", REPOSITORY)))
    popen = subprocess.Popen(
        [sys.executable, "-m", "descant", "gateway", str(file), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": paths, "COLUMNS": "500"},
    )
    said: list[str] = []
    address: list[str] = []
    is_up = threading.Event()

    def listen() -> None:
        assert popen.stderr is not None
        for line in popen.stderr:
            said.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                address.append(found[1])
                is_up.set()
        is_up.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        if not is_up.wait(WAIT_S) or not address:
            raise AssertionError("The gateway did not start:\n" + "".join(said))
        yield address[0]
    finally:
        popen.terminate()
        popen.wait(WAIT_S)
        listener.join(WAIT_S)
        assert popen.stderr is not None
        popen.stderr.close()
