"""Metrics over HTTP: each worker on a port of its own, apart from callers.

A scraper that asked a port which all workers share would meet a different worker each time. Worker
``n`` therefore answers on the base port plus ``n``, and the scraper is told of all of them::

    static_configs:
      - targets: ["127.0.0.1:9400", "127.0.0.1:9401"]
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from descant.schema.errors import InvalidConfig

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HIGHEST_PORT = 65_535


def worker_port(base_port: int, worker: int) -> int:
    """Return the port on which a worker is asked for its metrics.

    Raises:
        InvalidConfig: there is no such port.
    """
    port = base_port + worker
    if not 0 < port <= _HIGHEST_PORT:
        raise InvalidConfig(
            f"worker {worker} would answer on port {port}, which there is not.",
            field="metrics_port",
        )
    return port


async def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> web.AppRunner:
    """Answer ``GET /metrics`` until ``cleanup()`` is awaited on what is returned."""

    async def metrics(_: web.Request) -> web.Response:
        # Thousands of lines take tens of milliseconds, for which no request should wait.
        text = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=text, headers={"content-type": _CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
