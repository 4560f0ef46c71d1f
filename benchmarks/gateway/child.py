"""Processes that are started here, on cores of their own, and never outlive what started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LIBC = ctypes.CDLL(None)
_SET_PARENT_DEATH_SIGNAL = 1
_POLL_S = 0.1
_ENDS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Command:
    """What to start, where it runs and where it writes."""

    words: tuple[str, ...]
    cores: tuple[int, ...]
    log: Path
    environment: Mapping[str, str]


@contextlib.contextmanager
def started(command: Command) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, and end the group with the block."""
    path = f"{ROOT / 'src'}:{ROOT}"
    with command.log.open("ab") as log:
        process = subprocess.Popen(
            command.words,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path} | dict(command.environment),
            preexec_fn=_settled(command.cores),
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that `started` gave, and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN_S)


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path, limit_s: float) -> None:
    """Wait until GET answers, whatever it says.

    Raises:
        RuntimeError: the process ended, or the time is over.
    """
    ends_s = time.monotonic() + limit_s
    while time.monotonic() < ends_s:
        if process.poll() is not None:
            break
        if _answers(url):
            return
        time.sleep(_POLL_S)
    said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(f"{url} does not answer:\n{said}")


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends, however that does."""
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def stop_when_told() -> None:
    """Let Ctrl-C and SIGTERM end this process with what it started, also behind a shell."""
    # A shell has what it starts in the background ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _settled(cores: Sequence[int]) -> Callable[[], None]:
    def settle() -> None:
        os.setsid()
        os.sched_setaffinity(0, cores)
        end_with_parent()

    return settle
