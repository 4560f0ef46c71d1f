"""The HTTP app: routes, errors and what happens around every request, put together.

In: a loaded model and the indicators it is asked about. Out: an ASGI app that owns the thread the
model runs on and ends it when the server stops.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CollectorRegistry

from descant import __version__
from descant.monitoring import Metrics, RequestLog
from descant.monitoring.metrics import CONTENT_TYPE
from descant.schema import Indicator
from descant.schema.errors import InvalidConfig
from descant.server.engine_thread import EngineThread, ScoringModel
from descant.server.errors import add_error_handlers
from descant.server.models import models_router
from descant.server.request_context import RequestContext
from descant.server.scores import scores_router


@dataclass(frozen=True)
class ServerConfig:
    """Limits of the server.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    max_request_bytes: int = 2 << 20

    def __post_init__(self) -> None:
        if self.max_request_bytes < 1:
            raise InvalidConfig("max_request_bytes must be at least 1.", field="max_request_bytes")


def create_app(
    llm: ScoringModel,
    indicators: Sequence[Indicator],
    config: ServerConfig | None = None,
    *,
    registry: CollectorRegistry | None = None,
    request_log: RequestLog | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> FastAPI:
    """Return an app that answers these indicators with this model; no one else may call the model."""
    metrics = Metrics(registry or CollectorRegistry(), llm.model_name)
    engine = EngineThread(llm, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    app = FastAPI(
        title="Descant",
        version=__version__,
        summary="A conversation is read once; every adapter answers from that one reading.",
        lifespan=lifespan,
    )
    app.include_router(scores_router(engine, indicators, metrics, clock))
    app.include_router(models_router(llm, created=int(time.time())))
    _add_operation_routes(app, llm, metrics)
    add_error_handlers(app)
    app.add_middleware(
        RequestContext,
        metrics=metrics,
        request_log=request_log,
        max_request_bytes=(config or ServerConfig()).max_request_bytes,
        clock=clock,
    )
    return app


def _add_operation_routes(app: FastAPI, llm: ScoringModel, metrics: Metrics) -> None:
    @app.get("/health", summary="Whether requests are answered")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "model": llm.model_name}

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def prometheus_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)
