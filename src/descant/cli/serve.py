"""``descant serve``: scorecards over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from descant.cli.options import (
    DEFAULT_ADAPTERS,
    DEFAULT_MODEL,
    AdaptersOption,
    IndicatorsOption,
    KvDtypeOption,
    ModelOption,
    QuantizationOption,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

_SHUTDOWN_S = 30


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant serve --port 8000 --adapters runs/demo/adapters")(serve)


def serve(  # noqa: PLR0913 - one option each
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    adapters: AdaptersOption = DEFAULT_ADAPTERS,
    indicators: IndicatorsOption = None,
    model: ModelOption = DEFAULT_MODEL,
    quantization: QuantizationOption = None,
    kv_dtype: KvDtypeOption = "model",
    request_log: Annotated[
        Path | None, typer.Option(help="File to append one JSON line per request to.")
    ] = None,
) -> None:
    """Answer POST /v1/scores, GET /v1/models, /health and /metrics until Ctrl-C."""
    from descant.cli.loading import load_llm
    from descant.cli.terminal import Terminal
    from descant.monitoring import RequestLog
    from descant.schema import load_indicators
    from descant.server import create_app

    terminal = Terminal()
    # Before the model is loaded, so that a port in use is known at once.
    listener = listen(host, port)
    log = None if request_log is None else RequestLog(open_log(request_log))
    llm = load_llm(terminal, model, adapters, quantization, kv_dtype)
    asked = llm.indicators() if indicators is None else load_indicators(indicators)
    llm.load_adapters()
    app = create_app(llm, asked, request_log=log)
    address, chosen = listener.getsockname()[:2]
    terminal.note(f"Serving {len(asked)} indicators on http://{address}:{chosen}; Ctrl-C stops")
    run_server(app, listener)
    terminal.note("Stopped.")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        InvalidConfig: the address cannot be listened on.
    """
    from descant.schema.errors import InvalidConfig

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvalidConfig(
            f"Cannot listen on {host}:{port}: {error}.",
            field="port",
            remedy="Choose another address or port with --host and --port.",
        ) from error


def open_log(path: Path) -> TextIO:
    """Open a log to append to.

    Raises:
        InvalidConfig: it cannot be written.
    """
    from descant.schema.errors import InvalidConfig

    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write {path}: {error.strerror}.", field="request_log"
        ) from error


def run_server(app: FastAPI, listener: socket.socket) -> None:
    """Serve until a signal; requests that have begun are answered first."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_SHUTDOWN_S
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        # The ordinary way to stop a server is not an interrupted command.
        return
    finally:
        listener.close()
