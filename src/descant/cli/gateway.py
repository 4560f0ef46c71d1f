"""``descant gateway``: one door in front of every upstream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from descant.cli.terminal import Terminal


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gateway)


def gateway(
    file: Annotated[Path, typer.Argument(help="The gateway's file (TOML); docs/gateway.md.")],
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes; limits are shared by Redis.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Read the file, say what is wrong in it, and end.")
    ] = False,
) -> None:
    """Route many callers to many upstreams: limits that hold, fallbacks, caches and the books.

    The file is followed while the gateway runs: a change is in force within a second, and no
    connection is dropped.
    """
    from descant.gateway import load_gateway_config

    config = load_gateway_config(file)
    terminal = Terminal()
    if check:
        terminal.note(
            f"{file}: {len(config.upstreams)} upstreams, {len(config.routes)} routes, "
            f"{len(config.keys)} keys."
        )
        return
    if workers > 1 and config.state.redis is None and _has_limits(config):
        terminal.note("Without [state] redis every worker keeps limits of its own.")
    _raise_file_limit()
    _serve(file, host, port, workers, config.server.drain_s)


def _has_limits(config: object) -> bool:
    return any(getattr(config, kind) for kind in ("keys", "tenants", "models"))


def _raise_file_limit() -> None:
    """Let the process open as many files as it may: each call takes two, and many systems begin at 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve(file: Path, host: str, port: int, workers: int, drain_s: float) -> None:
    from descant.cli.gateway_server import GatewayServer, Serving, serve_supervised
    from descant.cli.supervisor import Supervisor

    serving = Serving(file, host, port, workers, drain_s)
    if workers == 1:
        server = GatewayServer(serving)
        server.run()
        has_begun = server.started
    else:
        listener = serving.config("").bind_socket()
        has_begun = Supervisor(serve_supervised, (serving, listener), drain_s).run(workers)
    if not has_begun:
        raise typer.Exit(1)
