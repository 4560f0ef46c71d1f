"""Runs batches: checks the input, has every line answered once, publishes what came of it.

Everything a batch has reached is on disk before it counts, so whenever the process dies, the next one
goes on from there. All batches share one number of lines in flight, in turn.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from descant.schema.errors import InvalidConfig, StorageFull
from descant.server.batches.batch_input import (
    BatchLine,
    InputLimits,
    LineError,
    check_input,
    read_input,
)
from descant.server.batches.batch_output import ERRORS, OUTPUT, BatchOutput
from descant.server.batches.batch_store import ENDED, Batch, BatchStore, Outcome
from descant.server.batches.file_store import CONTENT, FileStore

Answer = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""URL and JSON body in, status and JSON body out."""
Sleep = Callable[[float], Awaitable[None]]

_BUSY = frozenset({429, 503})
_WRITTEN_AT_ONCE = 1000
_REASONS = {
    "expired": "This request was not executed before the completion window expired.",
    "cancelled": "The batch was cancelled before this request was executed.",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchConfig:
    """Where batches and their files are, and their limits.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    folder: Path
    max_upload_bytes: int = 200 << 20
    input: InputLimits = field(default_factory=lambda: InputLimits(50_000, line_bytes=2 << 20))
    window_s: int = 24 * 60 * 60
    lines_in_flight: int = 8
    """Of all batches together."""
    first_wait_s: float = 1.0
    """Before a line that found the server busy is asked again; doubles each time."""
    longest_wait_s: float = 60.0
    patience_s: float = 3600.0
    """How long in all a line waits; then that the server is busy is its answer."""

    def __post_init__(self) -> None:
        for name in ("max_upload_bytes", "window_s", "lines_in_flight"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        if not 0 < self.first_wait_s <= self.longest_wait_s:
            raise InvalidConfig(
                "first_wait_s must be above 0 and not above longest_wait_s.", field="first_wait_s"
            )


class BatchRunner:
    """Runs every batch that is unfinished or submitted.

    `answer_for` takes the name of a batch's caller and returns what answers in that name.
    """

    def __init__(
        self,
        files: FileStore,
        batches: BatchStore,
        answer_for: Callable[[str], Answer],
        config: BatchConfig,
        *,
        sleep: Sleep = asyncio.sleep,
    ):
        self._files = files
        self._batches = batches
        self._answer_for = answer_for
        self._config = config
        self._sleep = sleep
        self._in_flight = asyncio.Semaphore(config.lines_in_flight)
        self._submitted: asyncio.Queue[str] = asyncio.Queue()
        for batch in batches.unfinished():
            self.submit(batch.id)

    @property
    def window_s(self) -> int:
        """How long a batch may take."""
        return self._config.window_s

    def submit(self, batch_id: str) -> None:
        """Take on a batch, once."""
        self._submitted.put_nowait(batch_id)

    async def run(self) -> None:
        """Run batches until cancelled; what is in flight then is asked again next time."""
        async with asyncio.TaskGroup() as running:
            while True:
                running.create_task(self._run_one(await self._submitted.get()))

    async def _run_one(self, batch_id: str) -> None:
        while self._batches.get(batch_id).status not in ENDED:
            try:
                await self._attempt(batch_id)
            except (StorageFull, OSError) as error:
                _log.warning("Batch %s waits: %s", batch_id, error)
                await self._sleep(self._config.longest_wait_s)

    async def _attempt(self, batch_id: str) -> None:
        answer = self._answer_for(self._batches.get(batch_id).caller)
        run = _BatchRun(
            batch_id,
            self._files,
            self._batches,
            answer,
            self._config,
            self._sleep,
            self._in_flight,
        )
        try:
            await run.run()
        except StorageFull:
            raise
        except Exception:
            _log.exception("Batch %s failed", batch_id)
            problem = LineError("internal_error", f"An internal error; the log has {batch_id}.")
            self._batches.set_status(batch_id, "failed", problems=(problem,))


@dataclass
class _BatchRun:
    """One batch from where it stands to its end."""

    id: str
    files: FileStore
    batches: BatchStore
    answer: Answer
    config: BatchConfig
    sleep: Sleep
    in_flight: asyncio.Semaphore

    @property
    def batch(self) -> Batch:
        return self.batches.get(self.id)

    async def run(self) -> None:
        if self.batch.in_progress_at is None:
            await self._begin()
        if self.batch.status in ENDED:
            return
        if self.batch.outcome is None:
            await self._answer_lines()
        self._publish()

    async def _begin(self) -> None:
        batch = self.batch
        report = await asyncio.to_thread(
            check_input, self.files.content(batch.input_file_id), batch.endpoint, self.config.input
        )
        if self.batch.status == "cancelling":
            self.batches.set_status(self.id, "cancelled")
        elif report.errors:
            self.batches.set_status(self.id, "failed", problems=report.errors)
        else:
            self.batches.set_status(self.id, "in_progress", total=report.total)

    async def _answer_lines(self) -> None:
        with BatchOutput(self.batches.folder(self.id)) as output:
            self._count(output)
            await self._work_off(output)
            outcome = self._outcome(output)
            if outcome != "completed":
                await asyncio.to_thread(self._give_up, output, outcome)
            self._count(output)
        if outcome == "completed":
            self.batches.set_status(self.id, "finalizing", outcome=outcome)
        else:
            self.batches.change(self.id, outcome=outcome)

    async def _work_off(self, output: BatchOutput) -> None:
        lines, reading = self._open_lines(output), asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self.config.lines_in_flight):
                    workers.create_task(self._work(lines, reading, output))
        except ExceptionGroup as group:
            # The first is why the others were stopped.
            raise group.exceptions[0] from group

    async def _work(
        self, lines: Iterator[BatchLine], reading: asyncio.Lock, output: BatchOutput
    ) -> None:
        while not self._is_stopped():
            async with reading:
                line = await asyncio.to_thread(next, lines, None)
            if line is None:
                return
            await self._answer_line(line, output)

    async def _answer_line(self, line: BatchLine, output: BatchOutput) -> None:
        try:
            response = await self._ask(line)
        except Exception:
            _log.exception("Batch %s: a line could not be answered", self.id)
            message = f"An internal error; the log has {self.id}."
            await asyncio.to_thread(output.add_errors, [line.custom_id], "internal_error", message)
        else:
            if response is None:
                return
            await asyncio.to_thread(output.add_response, line.custom_id, *response)
        self._count(output)

    async def _ask(self, line: BatchLine) -> tuple[int, object] | None:
        """Return what the line is answered, or None if the batch stops first."""
        waits = _waits(self.config)
        while True:
            async with self.in_flight:
                if self._is_stopped():
                    return None
                status, body = await self.answer(self.batch.endpoint, line.body)
            wait_s = next(waits, None) if status in _BUSY else None
            if wait_s is None:
                return status, json.loads(body)
            await self.sleep(wait_s)

    def _is_stopped(self) -> bool:
        batch = self.batch
        return batch.status == "cancelling" or self.batches.now() >= batch.expires_at

    def _outcome(self, output: BatchOutput) -> Outcome:
        if self.batch.status == "cancelling":
            return "cancelled"
        is_done = output.completed + output.failed == self.batch.total
        return "completed" if is_done else "expired"

    def _give_up(self, output: BatchOutput, outcome: Outcome) -> None:
        rest = (line.custom_id for line in self._open_lines(output))
        while some := list(islice(rest, _WRITTEN_AT_ONCE)):
            output.add_errors(some, f"batch_{outcome}", _REASONS[outcome])

    def _open_lines(self, output: BatchOutput) -> Iterator[BatchLine]:
        lines = read_input(self.files.content(self.batch.input_file_id))
        return (line for line in lines if not output.has(line.custom_id))

    def _count(self, output: BatchOutput) -> None:
        self.batches.note_counts(self.id, output.completed, output.failed)

    def _publish(self) -> None:
        batch = self.batch
        assert batch.outcome is not None
        answers = self._publish_file(OUTPUT, batch.answers_id)
        errors = self._publish_file(ERRORS, batch.errors_id)
        self.batches.set_status(
            self.id, batch.outcome, output_file_id=answers, error_file_id=errors
        )

    def _publish_file(self, name: str, file_id: str) -> str | None:
        """Turn one of the batch's folders into a file; it may be one already."""
        folder = self.batches.folder(self.id) / name
        if self.files.has(file_id):
            return file_id
        if not (folder / CONTENT).stat().st_size:
            return None
        self.files.publish(
            folder,
            id=file_id,
            tenant=self.batch.tenant,
            filename=f"{self.id}_{name}.jsonl",
            purpose="batch_output",
        )
        return file_id


def _waits(config: BatchConfig) -> Iterator[float]:
    """Yield ever longer waits until a line's patience is used up."""
    wait_s, left_s = config.first_wait_s, config.patience_s
    while left_s > 0:
        yield wait_s
        left_s -= wait_s
        wait_s = min(2 * wait_s, config.longest_wait_s)
