"""Leaving without breaking off an answer: new requests are sent elsewhere, running ones finish.

`/ready` is for load balancers, whether to send requests here; `/health` only says that the process
lives.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from descant.monitoring import Drain
from descant.server.errors import refuse

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})


class DrainGate:
    """Wraps an app: refuses requests while it drains, counts those that pass."""

    def __init__(
        self,
        app: ASGIApp,
        drain: Drain,
        retry_after_s: int = 5,
        open_paths: frozenset[str] = OPEN_PATHS,
    ):
        self._app = app
        self._drain = drain
        self._retry_after_s = retry_after_s
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other scopes and open paths pass through."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
        elif self._drain.is_draining:
            await self._refusal(scope)(scope, receive, send)
        else:
            with self._drain.running():
                await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp:
        return refuse(
            Request(scope),
            503,
            f"The server is stopping. Send it again in {self._retry_after_s} s, or elsewhere.",
            "draining",
            headers={"retry-after": str(self._retry_after_s)},
        )


def ready_router(drain: Drain, is_running: Callable[[], bool]) -> APIRouter:
    """Return ``GET /ready``: 200 while requests are taken, 503 when it drains or does not run."""
    router = APIRouter()

    @router.get("/ready", summary="Whether to send requests here")
    async def ready() -> JSONResponse:
        if drain.is_draining:
            return JSONResponse({"status": "draining"}, 503)
        if not is_running():
            return JSONResponse({"status": "failed"}, 503)
        return JSONResponse({"status": "ready"})

    return router
