"""Batches and where each of them stands, in memory and on disk."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from descant.schema.errors import NotFound
from descant.server.batches.batch_input import LineError
from descant.server.batches.file_store import new_file_id
from descant.server.batches.shelf import Shelf
from descant.server.keys import Caller

Outcome = Literal["completed", "expired", "cancelled"]
Status = Literal["validating", "failed", "in_progress", "finalizing", "cancelling"] | Outcome

ENDED = frozenset[Status]({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class Batch:
    """One batch; times are seconds since 1970."""

    id: str
    caller: str
    """Name of whom the lines are answered for."""
    tenant: str
    endpoint: str
    input_file_id: str
    created_at: int
    expires_at: int
    answers_id: str
    errors_id: str
    """Ids that its files will have, chosen before they exist so that none is published twice."""
    metadata: Mapping[str, str] | None = None
    status: Status = "validating"
    outcome: Outcome | None = None
    """Set when no line will be answered any more and only its files are still to be published."""
    problems: tuple[LineError, ...] = ()
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `asdict` wrote."""
        problems = tuple(LineError(**problem) for problem in document["problems"])
        return cls(**{**document, "problems": problems})


class BatchStore:
    """The batches under one folder; for one thread of one process.

    Documents are small and change a few times in a batch's life, so they are written where the
    change is made: no other change can come between.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        self._shelf = Shelf(folder)
        self._clock = clock
        stored = (Batch.from_document(document) for document in self._shelf.documents())
        self._batches = {batch.id: batch for batch in sorted(stored, key=_age)}

    def create(
        self,
        caller: Caller,
        endpoint: str,
        input_file_id: str,
        window_s: int,
        metadata: Mapping[str, str] | None,
    ) -> Batch:
        """Add a batch.

        Raises:
            StorageFull: the disk is full; there is no such batch.
        """
        now = int(self._clock())
        batch = Batch(
            id=f"batch_{uuid.uuid4().hex}",
            caller=caller.name,
            tenant=caller.tenant,
            endpoint=endpoint,
            input_file_id=input_file_id,
            created_at=now,
            expires_at=now + window_s,
            answers_id=new_file_id(),
            errors_id=new_file_id(),
            metadata=metadata,
        )
        self._shelf.publish(self._shelf.draft(), batch.id, asdict(batch))
        self._batches[batch.id] = batch
        return batch

    def get(self, id: str) -> Batch:
        """Return a batch that there is."""
        return self._batches[id]

    def find(self, id: str, tenant: str) -> Batch:
        """Return one batch of this tenant.

        Raises:
            NotFound: the tenant has no batch of that id.
        """
        batch = self._batches.get(id)
        if batch is None or batch.tenant != tenant:
            raise NotFound(
                f"No batch {id!r}.", field="batch_id", remedy="List them: GET /v1/batches."
            )
        return batch

    def of(self, tenant: str) -> list[Batch]:
        """Return the batches of this tenant, oldest first."""
        return [batch for batch in self._batches.values() if batch.tenant == tenant]

    def unfinished(self) -> list[Batch]:
        """Return the batches that have not ended, oldest first."""
        return [batch for batch in self._batches.values() if batch.status not in ENDED]

    def reads(self, file_id: str) -> bool:
        """Return whether a batch that has not ended has this file as its input."""
        return any(batch.input_file_id == file_id for batch in self.unfinished())

    def folder(self, id: str) -> Path:
        """Return where a batch keeps what it has answered."""
        return self._shelf.folder(id)

    def now(self) -> int:
        """Return the time, in seconds since 1970."""
        return int(self._clock())

    def set_status(self, id: str, status: Status, **changes: Any) -> Batch:
        """Give a batch its next status, note the time of it, and change other fields with it.

        Raises:
            StorageFull: the disk is full; nothing has changed.
        """
        return self.change(id, status=status, **{f"{status}_at": self.now()}, **changes)

    def change(self, id: str, **changes: Any) -> Batch:
        """Change a batch on disk and in memory.

        Raises:
            StorageFull: the disk is full; nothing has changed.
        """
        batch = replace(self._batches[id], **changes)
        self._shelf.rewrite(id, asdict(batch))
        self._batches[id] = batch
        return batch

    def note_counts(self, id: str, completed: int, failed: int) -> None:
        """Change counts in memory only; after a kill they follow from the lines on disk."""
        self._batches[id] = replace(self._batches[id], completed=completed, failed=failed)


def _age(batch: Batch) -> tuple[int, str]:
    return batch.created_at, batch.id
