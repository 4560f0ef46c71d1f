"""One process of the gateway: it serves until it is told to end, and reads its file when told."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import uvicorn

from descant.cli.draining_server import DrainingServer
from descant.gateway import Gateway, GuardedProtocol, Worker

_FLUSH_S = 1
"""For last bytes on their way; what still runs then is broken off."""
_TICKS_A_SECOND = 10


@dataclass(frozen=True)
class Serving:
    """What every process of a gateway is told."""

    file: Path
    host: str
    port: int
    num_workers: int
    drain_s: float

    def config(self, app: Gateway | str) -> uvicorn.Config:
        """Return what uvicorn is told."""
        return uvicorn.Config(
            app,
            host=self.host,
            port=self.port,
            http=GuardedProtocol,
            ws="none",
            lifespan="on",
            access_log=False,
            # Longer than clients and proxies keep theirs: whoever closes first must not be us.
            timeout_keep_alive=75,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=_FLUSH_S,
            log_level="info",
        )


class GatewayServer(DrainingServer):
    """The only one, or one of several; SIGHUP has it read its file again."""

    def __init__(self, serving: Serving):
        self._worker = Worker(serving.file, serving.num_workers)
        config = serving.config(Gateway(self._worker))
        super().__init__(config, self._worker.drain, serving.drain_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; at the second break off, and write down, what runs; then end."""
        if self._worker.drain.is_draining and not self.should_exit:
            self.should_exit = True
            self.config.timeout_graceful_shutdown = 0
        else:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; until then the file is about to be read anyway."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await super().startup(sockets)
        if self.started:
            _favour_requests()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._worker.reload_soon)


def _favour_requests() -> None:
    """Keep what happens beside requests from holding them up.

    What is loaded by now stays, so collections need not look at it; and the threads that write the books
    give the interpreter back to the event loop after half a millisecond, not after five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 10, 10)
    sys.setswitchinterval(0.0005)


class SupervisedServer(GatewayServer):
    """One of several: it ends by its supervisor's word, or once that is gone."""

    def __init__(self, serving: Serving, link: Connection):
        super().__init__(serving)
        self._link = link
        # A supervisor that does not read must not hold up an event loop.
        os.set_blocking(link.fileno(), False)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; SIGQUIT is the supervisor's second word."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, super().handle_exit, signal.SIGQUIT, None)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first SIGTERM.

        A terminal's Ctrl-C reaches all processes, and some send SIGTERM to all: neither is a second
        word of the supervisor's.
        """
        if sig == signal.SIGTERM and not self._worker.drain.is_draining:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Say that the event loop runs; the first time says that it serves."""
        if counter % _TICKS_A_SECOND == 0:
            try:
                os.write(self._link.fileno(), b".")
            except BlockingIOError:
                pass  # It has plenty to read yet.
            except BrokenPipeError:
                self.handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)


def serve_supervised(serving: Serving, listener: socket.socket, link: Connection) -> None:
    """Serve in a process of its own until it is told to end."""
    SupervisedServer(serving, link).run(sockets=[listener])
