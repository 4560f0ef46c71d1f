"""One answer as it is kept: the whole body, from which a stream is made where one is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from descant.gateway.call import Usage

JSON = "application/json"
EVENTS = "text/event-stream"
# A filter may change its mind, so its verdict is not repeated.
_NOT_REPEATED = frozenset({"content_filter", "error"})


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A whole answer of status 200 that `is_worth_keeping`."""

    body: bytes
    content_type: str
    usage: Usage
    made_unix_s: float

    def age_s(self, unix_s: float) -> float:
        """Return how old it is, for the ``age`` header and a caller's ``max-age``."""
        return max(0.0, unix_s - self.made_unix_s)

    def to_bytes(self) -> bytes:
        """Return it as one line of JSON about it and the body itself."""
        usage = self.usage
        about = {
            "type": self.content_type,
            "made": self.made_unix_s,
            "usage": [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens],
        }
        return orjson.dumps(about) + b"\n" + self.body

    @classmethod
    def from_bytes(cls, value: bytes) -> CachedAnswer:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it was written by something else.
        """
        line, _, body = value.partition(b"\n")
        about = orjson.loads(line)
        try:
            usage = Usage(*map(int, about["usage"]))
            return cls(body, str(about["type"]), usage, float(about["made"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"Not a cached answer: {error!r}.") from error


def is_worth_keeping(body: bytes) -> bool:
    """Return whether a body of status 200 is a whole answer: JSON, no error, every choice ended."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(answer, dict) or not answer or answer.get("error") is not None:
        return False
    choices = answer.get("choices", [])
    return isinstance(choices, list) and all(_has_ended(choice) for choice in choices)


def _has_ended(choice: Any) -> bool:
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    return isinstance(reason, str) and reason not in _NOT_REPEATED
