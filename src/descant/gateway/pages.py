"""What is not asked of an upstream: models, health, readiness, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from prometheus_client import generate_latest

from descant.gateway import admin
from descant.gateway.answers import Send, error_body, error_headers, send_answer
from descant.gateway.call import PATHS
from descant.gateway.intake import no_such_model
from descant.gateway.reply import JSON
from descant.gateway.worker import Worker
from descant.schema.errors import DescantError, MethodNotAllowed, NotFound, ServerStopping

_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


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
        if path == "/":
            return 200, orjson.dumps({"name": "descant gateway", "models": "/v1/models"}), JSON
        if path == "/v1/models":
            return 200, orjson.dumps({"object": "list", "data": self._models(scope)}), JSON
        if path.startswith("/v1/models/"):
            return 200, orjson.dumps(self._model(scope, path.removeprefix("/v1/models/"))), JSON
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

    def _models(self, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
        settings = self._worker.settings
        caller = settings.keys.caller(dict(scope["headers"]))
        models = self._worker.catalogue.models(settings.config)
        return [model.card() for model in models if caller.may_use(model.name)]

    def _model(self, scope: Mapping[str, Any], name: str) -> dict[str, Any]:
        for card in self._models(scope):
            if card["id"] == name:
                return card
        raise no_such_model(name)
