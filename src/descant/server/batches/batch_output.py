"""What a running batch has answered: two append-only files of JSON lines.

A line is in them whole and on disk, or not at all: opening drops what a kill or a power cut tore.
Every line of the input is at most once in the two together.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from descant.server.batches.file_store import CONTENT
from descant.server.batches.shelf import storing

OUTPUT, ERRORS = "output", "errors"


class LineFile:
    """An append-only file of JSON objects, one a line; any thread may append."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.custom_ids = _recover(path)
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def append(self, objects: Iterable[dict[str, Any]]) -> None:
        """Write lines and wait until they are on disk.

        Raises:
            StorageFull: the disk is full; the file is as it was.
        """
        lines = [(table["custom_id"], json.dumps(table).encode() + b"\n") for table in objects]
        with self._lock, storing():
            end = self._file.seek(0, os.SEEK_END)
            try:
                _write_all(self._file.fileno(), b"".join(line for _, line in lines))
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise
            self.custom_ids.update(custom_id for custom_id, _ in lines)

    def close(self) -> None:
        """Let the append that is running end, then close."""
        with self._lock:
            self._file.close()


class BatchOutput:
    """The answers and the errors of one batch, in two folders that become files when it ends."""

    def __init__(self, folder: Path):
        with storing():
            self._answers = LineFile(folder / OUTPUT / CONTENT)
            self._errors = LineFile(folder / ERRORS / CONTENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answers.close()
        self._errors.close()

    @property
    def completed(self) -> int:
        """Lines answered."""
        return len(self._answers.custom_ids)

    @property
    def failed(self) -> int:
        """Lines that have an error."""
        return len(self._errors.custom_ids)

    def has(self, custom_id: str) -> bool:
        """Return whether that line is done."""
        return custom_id in self._answers.custom_ids or custom_id in self._errors.custom_ids

    def add_response(self, custom_id: str, status: int, body: object) -> None:
        """Write down what one line was answered.

        Raises:
            StorageFull: the disk is full; the line is not done.
        """
        id = _new_id()
        response = {"status_code": status, "request_id": id, "body": body}
        line = {"id": id, "custom_id": custom_id, "response": response, "error": None}
        (self._answers if status < 400 else self._errors).append([line])

    def add_errors(self, custom_ids: Iterable[str], code: str, message: str) -> None:
        """Write down why these lines have no response.

        Raises:
            StorageFull: the disk is full; none of them is done.
        """
        error = {"code": code, "message": message}
        self._errors.append(
            {"id": _new_id(), "custom_id": custom_id, "response": None, "error": error}
            for custom_id in custom_ids
        )


def _recover(path: Path) -> set[str]:
    """Cut the file behind its last whole line and return the ids of those that stay."""
    custom_ids: set[str] = set()
    whole_bytes = 0
    with path.open("a+b") as file:
        file.seek(0)
        for line in file:
            custom_id = _custom_id(line)
            if custom_id is None:
                break
            custom_ids.add(custom_id)
            whole_bytes += len(line)
        file.truncate(whole_bytes)
    return custom_ids


def _custom_id(line: bytes) -> str | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return str(json.loads(line)["custom_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _new_id() -> str:
    return f"batch_req_{uuid.uuid4().hex}"
