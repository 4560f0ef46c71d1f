"""Files and batches put together: one router that brings its routes and runs the batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter
from filelock import FileLock, Timeout

from descant.schema.errors import InvalidConfig
from descant.server.batches.batch_runner import Answer, BatchConfig, BatchRunner, Sleep
from descant.server.batches.batch_store import BatchStore
from descant.server.batches.batches import batches_router
from descant.server.batches.file_store import FileStore
from descant.server.batches.files import files_router


def batch_service(
    config: BatchConfig,
    answer_for: Callable[[str], Answer],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Sleep = asyncio.sleep,
) -> APIRouter:
    """Return the routes of files and batches; batches run while the app that includes them does.

    Raises:
        InvalidConfig: the folder cannot be used, or another server uses it.
        StorageFull: the disk is full.
    """
    lock = _locked(config)
    files = FileStore(config.folder / "files", clock)
    batches = BatchStore(config.folder / "batches", clock)
    runner = BatchRunner(files, batches, answer_for, config, sleep=sleep)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        running = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            lock.release()

    router = APIRouter(lifespan=lifespan)
    router.include_router(files_router(files, batches.reads))
    router.include_router(batches_router(files, batches, runner))
    return router


def _locked(config: BatchConfig) -> FileLock:
    lock = FileLock(config.folder / ".lock")
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InvalidConfig(
            f"Another server uses {config.folder}.",
            field="folder",
            remedy="Stop it, or choose another folder.",
        ) from error
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write in {config.folder}: {error.strerror}.",
            field="folder",
            remedy="Choose a folder that exists or can be made, and that you may write in.",
        ) from error
    return lock
