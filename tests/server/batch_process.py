"""A process that runs the batches of a folder and kills itself while it answers.

Run as ``python -m tests.server.batch_process FOLDER LINES``: after that many lines it sends itself
SIGKILL; with a large number it ends by itself when all batches have ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from descant.server.batches.batch_runner import BatchConfig, BatchRunner
from descant.server.batches.batch_store import BatchStore
from descant.server.batches.file_store import FileStore
from tests.server.batch_app import echo


async def main(folder: Path, lines: int) -> None:
    answered = 0

    async def answer(url: str, body: bytes) -> tuple[int, bytes]:
        nonlocal answered
        answered += 1
        if answered > lines:
            os.kill(os.getpid(), signal.SIGKILL)
        return await echo(url, body)

    files, batches = FileStore(folder / "files"), BatchStore(folder / "batches")
    runner = BatchRunner(files, batches, lambda _: answer, BatchConfig(folder))
    running = asyncio.create_task(runner.run())
    while batches.unfinished():
        await asyncio.sleep(0.005)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
