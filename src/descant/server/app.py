"""The HTTP app: routes, errors and what happens around every request, put together.

In: a loaded model and the indicators it is asked about. Out: an ASGI app that owns the thread the
model runs on and ends it when the server stops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry

from descant import __version__
from descant.adapters import RegistryFollower
from descant.llm import LLM
from descant.monitoring import Drain, Metrics, RequestLog, watch_loop
from descant.monitoring.metrics import CONTENT_TYPE
from descant.schema import Indicator
from descant.server.adapters import adapters_router
from descant.server.batches import answers_from, batch_service
from descant.server.chat import chat_router
from descant.server.completions import completions_router
from descant.server.drain import DrainGate, ready_router
from descant.server.embeddings import embeddings_router
from descant.server.errors import add_error_handlers
from descant.server.keys import KeyCheck, Keys
from descant.server.models import models_router
from descant.server.rate_limits import RateLimit, RateLimits
from descant.server.registry_thread import RegistryThread
from descant.server.request_context import RequestContext
from descant.server.scores import scores_router
from descant.server.service import ServerConfig, Service
from descant.server.tokens import tokens_router
from descant.server.trial import Trial

ROUTERS = (
    scores_router,
    chat_router,
    completions_router,
    embeddings_router,
    models_router,
    adapters_router,
    tokens_router,
)


def create_app(  # noqa: PLR0913 - one part each
    llm: LLM,
    indicators: Sequence[Indicator],
    config: ServerConfig | None = None,
    *,
    registry: CollectorRegistry | None = None,
    request_log: RequestLog | None = None,
    clock: Callable[[], float] = time.perf_counter,
    follower: RegistryFollower | None = None,
    trial: Trial | None = None,
) -> FastAPI:
    """Return an app that serves this model; no one else may run its engine, or the follower.

    Raises:
        InvalidConfig: the file of keys is wrong.
    """
    settings = config or ServerConfig()
    keys = None if settings.keys_file is None else Keys(settings.keys_file)
    metrics = Metrics(registry or CollectorRegistry(), llm.model_name)
    metrics.watch_library(llm.library.stats)
    if trial is not None:
        trial.watch(metrics.count_trial)
    service = Service.start(llm, indicators, metrics, settings, clock, follower, trial)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(watch_loop(metrics.observe_loop_lag))
        following = None if follower is None else RegistryThread(follower.follow)
        yield
        await app.state.drain.finish(settings.drain_s)
        if trial is not None:
            await trial.finish()
        if following is not None:
            await asyncio.to_thread(following.close)
        watch.cancel()
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="Descant",
        version=__version__,
        summary="A conversation is read once; every adapter answers from that one reading.",
        lifespan=lifespan,
    )
    app.state.drain = drain = Drain()
    app.state.engine = service.engine
    app.state.indicators = service.known_indicators
    for router in ROUTERS:
        app.include_router(router(service))
    app.include_router(ready_router(drain, lambda: service.engine.is_running))
    _add_operation_routes(app, service)
    add_error_handlers(app)
    streamed_bytes = {}
    if settings.batches is not None:
        app.include_router(batch_service(settings.batches, answers_from(app, keys)))
        streamed_bytes["/v1/files"] = settings.batches.max_upload_bytes
    # The last one added is the first one a request meets.
    app.add_middleware(RateLimit, limits=RateLimits())
    app.add_middleware(KeyCheck, keys=keys)
    app.add_middleware(DrainGate, drain=drain)
    app.add_middleware(
        RequestContext,
        metrics=metrics,
        request_log=request_log,
        max_request_bytes=settings.max_request_bytes,
        streamed_bytes=streamed_bytes,
        clock=clock,
    )
    return app


def _add_operation_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether requests are answered; 503: restart the server")
    async def health() -> JSONResponse:
        is_running = service.engine.is_running
        told = {"status": "ok" if is_running else "failed", "model": service.llm.model_name}
        return JSONResponse(told, 200 if is_running else 503)

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def prometheus_metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)
