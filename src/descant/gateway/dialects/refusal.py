"""An upstream's refusal as OpenAI writes one, with nothing in it that is the upstream's own affair."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from descant.gateway.dialects.document import dump, list_in, object_in, parse_object, text_in

_CALLERS_MISTAKES = frozenset({400, 404, 409, 413, 415, 422})
"""Only these say something about the request; others speak of the upstream and its account."""
_LONGEST_MESSAGE = 1000
_PRIVATE = re.compile(
    r"\b(?:https?|wss?)://\S+"
    r"|\b(?:sk|pk|org|proj|req|key)[-_](?=\S{0,100}[0-9*])[A-Za-z0-9_*.-]{6,}"
    r"|\b(?:Bearer|Basic)\s+\S+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be told to a caller."""

    texts: tuple[str, ...] = field(repr=False)
    """The upstream's host and key."""

    def take_out(self, text: str) -> str:
        """Return the text without them, and without anything that looks like an address or key."""
        for secret in self.texts:
            text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
        return _PRIVATE.sub("…", text)[:_LONGEST_MESSAGE]


def refusal_body(status: int, body: bytes, secrets: Secrets) -> bytes:
    """Return OpenAI's error body for an answer that is none."""
    document = parse_object(body) or {}
    error = stated_error(document)
    message, code = told(status, document, secrets)
    param = secrets.take_out(text_in(error, "param")) or None
    shown: dict[str, Any] = error_object(status, message, code, param)
    if filtered := _content_filter(error):
        shown["innererror"] = filtered
    return dump({"error": shown})


def told(status: int, document: dict[str, Any], secrets: Secrets) -> tuple[str, str]:
    """Return the message and code for the caller: the upstream's where they are about the request."""
    message, code = _own_words(status)
    if status not in _CALLERS_MISTAKES:
        return message, code
    error = stated_error(document)
    message = secrets.take_out(stated_message(document)) or message
    return message, secrets.take_out(text_in(error, "code") or text_in(error, "type")) or code


def error_object(status: int, message: str, code: str, param: str | None) -> dict[str, Any]:
    """Return one error as OpenAI's API writes it, its type following from its status."""
    return {"message": message, "type": _type_of(status), "code": code, "param": param}


def stated_error(document: dict[str, Any]) -> dict[str, Any]:
    """Return the error object of an answer or event, an empty one where there is none."""
    error = object_in(document, "error")
    if error:
        return error
    # vLLM's older servers put the error's fields at the top.
    return document if document.get("object") == "error" else {}


def stated_message(document: dict[str, Any]) -> str:
    """Return what an answer says is wrong, in whichever of the usual places it says so."""
    stated = text_in(stated_error(document), "message")
    details = list_in(document, "detail")
    detail = details[0] if details and isinstance(details[0], dict) else {}
    plain = text_in(document, "error") or text_in(document, "detail")
    return stated or plain or text_in(detail, "msg")


def _own_words(status: int) -> tuple[str, str]:
    if status in (401, 402, 403, 407):
        return "The upstream does not accept the gateway's own credentials.", "upstream_credentials"
    if status in (429, 503, 529):
        return "The upstream takes no more requests for now.", "upstream_busy"
    if status in (408, 504):
        return "The upstream took too long.", "upstream_timeout"
    if 300 <= status < 400:
        return "The upstream wants to redirect, which is never followed.", "upstream_redirect"
    if status < 500:
        return f"The upstream refused the request with status {status}.", "upstream_refused"
    return f"The upstream failed with status {status}.", "upstream_failed"


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"


def _content_filter(error: dict[str, Any]) -> dict[str, Any]:
    """Return which of Azure's content filters refused, if one did."""
    inner = object_in(error, "innererror")
    found = object_in(inner, "content_filter_result") or object_in(inner, "content_filter_results")
    if not found:
        return {}
    shown = {
        name: {key: value for key, value in each.items() if isinstance(value, bool | str)}
        for name, each in found.items()
        if isinstance(each, dict)
    }
    return {"code": text_in(inner, "code"), "content_filter_result": shown}
