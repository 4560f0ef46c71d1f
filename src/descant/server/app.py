"""The HTTP app: routes, errors and what happens around every request, put together.

In: a loaded model and the indicators it is asked about. Out: an ASGI app that owns the thread the
model runs on and ends it when the server stops.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CollectorRegistry

from descant import __version__
from descant.llm import LLM
from descant.monitoring import Metrics, RequestLog
from descant.monitoring.metrics import CONTENT_TYPE
from descant.schema import Indicator
from descant.server.errors import add_error_handlers
from descant.server.models import models_router
from descant.server.request_context import RequestContext
from descant.server.scores import scores_router
from descant.server.service import ServerConfig, Service


def create_app(
    llm: LLM,
    indicators: Sequence[Indicator],
    config: ServerConfig | None = None,
    *,
    registry: CollectorRegistry | None = None,
    request_log: RequestLog | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> FastAPI:
    """Return an app that serves this model; no one else may run its engine."""
    settings = config or ServerConfig()
    metrics = Metrics(registry or CollectorRegistry(), llm.model_name)
    service = Service.start(llm, indicators, metrics, settings, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.engine.close()

    app = FastAPI(
        title="Descant",
        version=__version__,
        summary="A conversation is read once; every adapter answers from that one reading.",
        lifespan=lifespan,
    )
    for router in (scores_router, models_router):
        app.include_router(router(service))
    _add_operation_routes(app, llm, metrics)
    add_error_handlers(app)
    app.add_middleware(
        RequestContext,
        metrics=metrics,
        request_log=request_log,
        max_request_bytes=settings.max_request_bytes,
        clock=clock,
    )
    return app


def _add_operation_routes(app: FastAPI, llm: LLM, metrics: Metrics) -> None:
    @app.get("/health", summary="Whether requests are answered")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "model": llm.model_name}

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def prometheus_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)
