"""How a stream that fails on its way says so to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.gateway.dialects.dialect import StreamFailure
from descant.gateway.dialects.document import count_in, dump, text_in
from descant.gateway.dialects.refusal import Secrets, error_object, stated_error, told

GARBLED = StreamFailure(
    "garbled", 502, "garbled_answer", "The upstream sent something that is no event of a stream."
)
CUT = StreamFailure("cut", 502, "stream_cut", "The upstream's stream ended before its answer did.")
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What an error's type or code means where it comes without a status, as in a stream."""


def failure_event(failure: StreamFailure) -> bytes:
    """Return the event that tells a caller, as OpenAI's servers do."""
    error = error_object(failure.status, failure.message, failure.code, None)
    return b"data: " + dump({"error": error}) + b"\n\n"


def stated_failure(document: dict[str, Any], secrets: Secrets) -> StreamFailure | None:
    """Return what an event says went wrong; None where nothing did."""
    if not document.get("error") and document.get("object") != "error":
        return None
    status = _status(stated_error(document))
    message, code = told(status, document, secrets)
    return StreamFailure("stated", status, code, message)


def _status(error: dict[str, Any]) -> int:
    named = count_in(error, "code") or count_in(error, "status") or 0
    if 400 <= named < 600:
        return named
    return _STATUSES.get(text_in(error, "code")) or _STATUSES.get(text_in(error, "type")) or 500
