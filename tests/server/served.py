"""A tiny random model with an adapter for two of its three indicators, and the app over it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import torch
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from descant.engine import Engine, EngineConfig
from descant.llm import LLM
from descant.model import ModelConfig, content_hash, save_adapter
from descant.monitoring import RequestLog
from descant.registry import MANIFEST_FILE
from descant.schema import Indicator, load_indicators
from descant.server import ServerConfig, create_app
from tests.cli.tiny_folder import write_indicators, write_model
from tests.registry.adapters import manifest
from tests.tiny import tiny_adapter

UPSELL = Indicator("upsell", "Upsell?", ("no", "yes"), ("yes",), "binary", "upsell")
WAIT_S = 30.0
"""How long a test waits for another thread before it fails."""


def serve_tiny(place: Path) -> tuple[LLM, tuple[Indicator, ...]]:
    """Write a model and two adapters; return them, loaded, with three indicators."""
    (place / "adapters").mkdir(parents=True)
    trained = load_indicators(write_indicators(place / "indicators"))
    llm = LLM(
        write_model(place / "model"),
        adapters=place / "adapters",
        dtype=torch.float32,
        engine=EngineConfig(kv_cache_bytes=1 << 23),
    )
    for seed, indicator in enumerate(trained):
        write_adapter(place / "adapters" / indicator.adapter, llm, seed, indicator)
    llm.library.scan()
    return llm, (*trained, UPSELL)


def write_adapter(folder: Path, llm: LLM, seed: int, indicator: Indicator) -> None:
    config: ModelConfig = llm.engine.model.config
    invocation = llm.renderer.invocation
    made = replace(tiny_adapter(config, seed), invocation_tokens=invocation)
    made = replace(made, content_hash=content_hash(made.weights, invocation))
    told = manifest(
        base_hash=llm.base_hash,
        content_hash=made.content_hash,
        indicator={"name": indicator.name, "labels": list(indicator.labels)}
        | {"question": indicator.question, "positive": list(indicator.positive)},
    )
    save_adapter(folder, made, documents={MANIFEST_FILE: asdict(told)})


class Server:
    """The app in this process, its log and its metrics; each `client()` is one life of it."""

    def __init__(self, llm: LLM, indicators: tuple[Indicator, ...], **config: Any):
        self.llm = llm
        self.indicators = indicators
        self.config = ServerConfig(**config)
        self.log = io.StringIO()
        self.registry = CollectorRegistry()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FastAPI]:
        self.registry = CollectorRegistry()
        app = create_app(
            self.llm,
            self.indicators,
            self.config,
            registry=self.registry,
            request_log=RequestLog(self.log),
        )
        # Its end is the end of the engine's thread.
        async with app.router.lifespan_context(app):
            yield app

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self.running() as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def score(self, **body: Any) -> httpx.Response:
        return self.request("POST", "/v1/scores", json={"conversation": CONVERSATION, **body})

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


CONVERSATION = {"turns": [{"speaker": "agent", "text": "Good morning"}]}


@dataclass
class Hold:
    """An engine that has arrived at a step and waits there."""

    opened: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self._arrived.set()
        assert self.opened.wait(WAIT_S)

    async def arrival(self) -> None:
        assert await asyncio.to_thread(self._arrived.wait, WAIT_S)


@contextmanager
def held_steps(engine: Engine) -> Iterator[Hold]:
    """Let every step of an engine wait in the middle until the hold is opened, or at the end."""
    hold = Hold()
    hook = engine.model.register_forward_pre_hook(lambda *_: hold.wait())
    try:
        yield hold
    finally:
        hook.remove()
        hold.opened.set()


@contextmanager
def failing_step(engine: Engine, detail: str) -> Iterator[None]:
    """Let the next step of an engine fail in the middle; those after it work."""
    failures = [RuntimeError(detail)]

    def fail_once(*_: object) -> None:
        if failures:
            raise failures.pop()

    hook = engine.model.register_forward_pre_hook(fail_once)
    try:
        yield
    finally:
        hook.remove()
