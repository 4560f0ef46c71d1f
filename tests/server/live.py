"""A real server on a loopback port with a tiny random model and two adapters for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI

from descant.cli.serve import listen
from descant.engine import EngineConfig
from descant.llm import LLM
from descant.server import ServerConfig, create_app
from tests.server.served import serve_tiny


def write_served(folder: Path) -> Path:
    """Write a model and adapters named ``polite`` and ``mood``."""
    serve_tiny(folder)
    return folder


def load(folder: Path, **engine: int) -> LLM:
    config = EngineConfig(**{"kv_cache_bytes": 1 << 24, **engine})
    return LLM(folder / "model", adapters=folder / "adapters", dtype=torch.float32, engine=config)


@contextmanager
def live(llm: LLM, config: ServerConfig | None = None) -> Iterator[tuple[str, FastAPI]]:
    """Serve until the block ends; yields the address and the app."""
    app = create_app(llm, llm.indicators(), config)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", app
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
