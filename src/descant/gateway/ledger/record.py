"""What the books keep of one request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import orjson

from descant.gateway.call import Operation, Usage

Outcome = Literal["ok", "cached", "refused", "failed", "cancelled", "timed_out"]
"""Answered by an upstream; from the cache; turned away by a limit or a rule; no upstream could; the
caller hung up; the caller's time was over."""

Kind = Literal["answer", "hedge", "stage", "shadow"]
"""What the caller got; a second asking that came too late; an earlier stage of a cascade; a copy for
a trial, which no budget pays for."""

_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One request, or one further asking of an upstream for it; (id, kind, part) is paid for once.

    The id must be the gateway's own: who may choose it may have a request for nothing.
    """

    id: str
    time_s: float
    """When it was over: seconds since 1970, UTC."""
    tenant: str
    key: str
    operation: Operation | Literal["batches"]
    model: str
    """As asked; its first 200 characters are kept."""
    outcome: Outcome
    status: int
    """Of HTTP, as the caller saw it."""
    usage: Usage = Usage()
    money_nano: int = 0
    """Billionths of the money unit."""
    adapter_hash: str | None = None
    upstream: str | None = None
    attempts: int = 0
    """How often an upstream was asked."""
    is_stream: bool = False
    wait_s: float = 0.0
    """Held back by limits and queues."""
    first_byte_s: float | None = None
    """From sending to the upstream's first byte."""
    total_s: float = 0.0
    kind: Kind = "answer"
    part: int = 0
    """Tells several of one kind apart, as the stages of a cascade."""

    def to_line(self) -> bytes:
        """Return one JSON object, named as the table's columns, and a line's end.

        Raises:
            TypeError, ValueError, OverflowError: a field cannot be said in JSON or is no time.
        """
        return orjson.dumps(self._columns(), option=orjson.OPT_APPEND_NEWLINE)

    def _columns(self) -> dict[str, str | int | float | None]:
        return {
            "id": self.id,
            "kind": self.kind,
            "part": self.part,
            "time": utc_text(self.time_s),
            "tenant": self.tenant,
            "key": self.key,
            "operation": self.operation,
            "model": _plain(self.model),
            "adapter_hash": self.adapter_hash,
            "upstream": self.upstream,
            "outcome": self.outcome,
            "status": self.status,
            "prompt_tokens": self.usage.prompt_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "money_nano": self.money_nano,
            "attempts": self.attempts,
            "is_stream": int(self.is_stream),
            "wait_s": self.wait_s,
            "first_byte_s": self.first_byte_s,
            "total_s": self.total_s,
        }


def utc_text(time_s: float) -> str:
    """Return a moment as text that sorts as time does: always 27 characters."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _plain(text: str) -> str:
    # A caller's words: PostgreSQL takes no NUL, and JSON no half of a surrogate pair.
    return text[:_MOST_CHARACTERS].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
