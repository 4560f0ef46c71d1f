"""What a teacher answered and what that cost: one append-only file of JSON lines.

Each request is a line when it is sent and a line when it has ended, so that the file knows of every
request that may have cost something, whenever the process is killed or the power fails::

    {"opened": KEY, "read": 900, "written": 64, "money": "0.0012"}
    {"closed": KEY, "read": 311, "written": 5, "money": "0.0004", "status": 200, "latency_s": 0.81,
     "output": "yes", "opinions": {"greeting": {…}}}

A key is a hash of all that an answer depends on, the prompt among it. A request that was opened and never closed counts
with the most it can have taken. A line that a kill tore is cut off when the file is opened.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from decimal import Decimal
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from descant.distillation.budget import Cost
from descant.distillation.teacher import Opinion
from descant.schema.errors import InvalidConfig, InvalidData, StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Received:
    """What came back over the wire, whatever it was read as."""

    status: int
    latency_s: float
    output: str | None = None
    """In the teacher's own words; None where it has none."""


@dataclass(frozen=True)
class Kept:
    """One answer in the file."""

    opinions: Mapping[str, Opinion]
    """By indicator name."""
    cost: Cost
    """Of all requests that it took."""
    latency_s: float | None
    """Of the reply that brought it; None where the file does not say."""


class AnswerStore:
    """The answers in one file; for one process at a time, and a context manager.

    Raises:
        InvalidConfig: the file cannot be written, or another process has it open.
        InvalidData: a line is none of these; names it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._opinions: dict[str, dict[str, Opinion]] = {}
        self._costs: dict[str, Cost] = {}
        self._latencies_s: dict[str, float] = {}
        self._open: dict[str, Cost] = {}
        self._closed = Cost()
        with ExitStack() as held:
            held.callback(_locked(path).release)
            self._file = held.enter_context(_opened(path))
            self._read()
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    @property
    def spent(self) -> Cost:
        """All that the requests in the file have cost, at most."""
        return sum(self._open.values(), self._closed)

    def opinions(self, key: str) -> Mapping[str, Opinion] | None:
        """Return what was answered by indicator name; None where nothing was."""
        return self._opinions.get(key)

    def kept(self, key: str) -> Kept | None:
        """Return an answer with what it took; None where there is none."""
        opinions = self._opinions.get(key)
        if opinions is None:
            return None
        return Kept(opinions, self._costs[key], self._latencies_s.get(key))

    def open(self, key: str, most: Cost) -> None:
        """Note that a request is about to be sent.

        Raises:
            StorageFull: the disk is full; nothing is noted.
        """
        self._append({"opened": key, **_cost_fields(most)})
        self._note_open(key, most)

    def close(
        self,
        key: str,
        used: Cost,
        opinions: Mapping[str, Opinion] | None = None,
        received: Received | None = None,
    ) -> None:
        """Note what a request has taken, what came back, and its answer if there is one.

        Raises:
            StorageFull: the disk is full; the request counts as open.
        """
        line: dict[str, Any] = {"closed": key, **_cost_fields(used)}
        if received is not None:
            line |= asdict(received)
        if opinions is not None:
            line["opinions"] = {name: _opinion_fields(each) for name, each in opinions.items()}
        self._append(line)
        self._note_closed(key, used, opinions, None if received is None else received.latency_s)

    def _note_open(self, key: str, most: Cost) -> None:
        # Asked again after a kill: what the first time may have taken stays spent.
        if key in self._open:
            self._note_cost(key, self._open.pop(key))
        self._open[key] = most

    def _note_closed(
        self,
        key: str,
        used: Cost,
        opinions: Mapping[str, Opinion] | None,
        latency_s: float | None,
    ) -> None:
        self._open.pop(key, None)
        self._note_cost(key, used)
        if opinions is not None:
            self._opinions[key] = dict(opinions)
            if latency_s is not None:
                self._latencies_s[key] = latency_s

    def _note_cost(self, key: str, used: Cost) -> None:
        self._closed += used
        self._costs[key] = self._costs.get(key, Cost()) + used

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            if error.errno in _FULL:
                raise StorageFull(
                    f"The disk is full: {self.path} took no further answer.",
                    field="answers",
                    remedy="What was answered is kept; free some space and run it again.",
                ) from error
            raise

    def _read(self) -> None:
        self._file.seek(0)
        *lines, torn = self._file.read().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._replay(json.loads(line))
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._foreign(number) from error
        # Nothing is cut off that may be the end of someone's own file.
        if not any(_is_beginning(torn, kind) for kind in (b'{"opened": ', b'{"closed": ')):
            raise self._foreign(len(lines) + 1)
        self._file.truncate(sum(len(line) + 1 for line in lines))

    def _foreign(self, number: int) -> InvalidData:
        return InvalidData(
            f"{self.path}, line {number}: is no line of a teacher's answers.",
            field="answers",
            remedy="Name another file for the answers.",
        )

    def _replay(self, table: Mapping[str, Any]) -> None:
        cost = Cost(int(table["read"]), int(table["written"]), Decimal(table["money"]))
        if "opened" in table:
            self._note_open(table["opened"], cost)
            return
        stated = table.get("opinions")
        opinions = None if stated is None else {n: Opinion(**each) for n, each in stated.items()}
        latency_s = table.get("latency_s")
        self._note_closed(
            table["closed"], cost, opinions, None if latency_s is None else float(latency_s)
        )


def key_of(content: Mapping[str, Any]) -> str:
    """Return the hash of all that an answer depends on."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _locked(path: Path) -> FileLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InvalidConfig(
            f"Another process is writing to {path}.",
            field="answers",
            remedy="Let it end, or name another file for the answers.",
        ) from error
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write to {path}: {error.strerror}.", field="answers"
        ) from error
    return lock


def _opened(path: Path) -> FileIO:
    try:
        return FileIO(path, "a+")
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write to {path}: {error.strerror}.", field="answers"
        ) from error


def _is_beginning(torn: bytes, kind: bytes) -> bool:
    return torn.startswith(kind) or kind.startswith(torn)


def _cost_fields(cost: Cost) -> dict[str, Any]:
    return {
        "read": cost.read_tokens,
        "written": cost.written_tokens,
        "money": f"{cost.money:f}",
    }


def _opinion_fields(opinion: Opinion) -> dict[str, Any]:
    return {key: value for key, value in asdict(opinion).items() if value or key == "label"}
