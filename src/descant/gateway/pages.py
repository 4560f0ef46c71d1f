"""What is not asked of an upstream: models, health, readiness, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from prometheus_client import generate_latest

from descant.gateway import admin
from descant.gateway.answers import Send, error_body, error_headers, send_answer
from descant.gateway.call import PATHS
from descant.gateway.config import GatewayConfig
from descant.gateway.reply import JSON
from descant.gateway.worker import Worker
from descant.schema.errors import DescantError, MethodNotAllowed, NotFound, ServerStopping

_METRICS = b"text/plain; version=0.0.4; charset=utf-8"
_GLOB = "*?["


class Pages:
    """Answers every request that is not a call."""

    def __init__(self, worker: Worker):
        self._worker = worker

    async def answer(self, scope: Mapping[str, Any], send: Send) -> None:
        """Answer one request."""
        try:
            status, body, content_type = self._page(scope)
        except DescantError as error:
            headers = error_headers(error)
            await send_answer(send, error.http_status, error_body(error), JSON, headers)
            return
        await send_answer(send, status, body, content_type, [])

    def _page(self, scope: Mapping[str, Any]) -> tuple[int, bytes, bytes]:
        path = scope["path"]
        if path in PATHS:
            raise MethodNotAllowed(f"{path} takes POST alone.")
        if scope["method"] not in ("GET", "HEAD"):
            raise NotFound(f"There is nothing at {path}.")
        if path == "/health":
            return 200, orjson.dumps({"status": "ok"}), JSON
        if path == "/ready":
            return self._ready()
        if path == "/metrics" and self._worker.settings.config.server.metrics_port is None:
            return 200, generate_latest(self._worker.observing.registry), _METRICS
        if path == "/v1/models":
            return self._models(dict(scope["headers"]))
        if path in ("/admin/economy", "/admin/state"):
            return 200, orjson.dumps(self._admin(path, dict(scope["headers"]))), JSON
        raise NotFound(f"There is nothing at {path}.")

    def _admin(self, path: str, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        worker = self._worker
        admin.check_admin(worker.settings.keys.caller(headers))
        if path == "/admin/economy":
            return admin.economy(worker.lasting)
        return admin.state(worker.settings, worker.lasting)

    def _ready(self) -> tuple[int, bytes, bytes]:
        if self._worker.drain.is_draining:
            raise ServerStopping("The gateway is stopping.")
        return 200, orjson.dumps({"status": "ready"}), JSON

    def _models(self, headers: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
        settings = self._worker.settings
        caller = settings.keys.caller(headers)
        names = [name for name in named_models(settings.config) if caller.may_use(name)]
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "descant-gateway"}
            for name in names
        ]
        return 200, orjson.dumps({"object": "list", "data": data}), JSON


def named_models(config: GatewayConfig) -> list[str]:
    """Return every model that the settings name; what a glob lets through is the upstreams' to say."""
    names = [*config.routes]
    for upstream in config.upstreams.values():
        names += [*upstream.models, *upstream.names]
    return sorted({name for name in names if not any(sign in name for sign in _GLOB)})
