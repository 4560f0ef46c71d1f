"""OpenAI's dialect, which vLLM, Descant and most other servers speak as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from descant.gateway.call import PATHS, Call, Operation
from descant.gateway.dialects.dialect import Answered, StreamReader, UpstreamRequest
from descant.gateway.dialects.document import TooDeep, dump, list_in, object_in, parse_object
from descant.gateway.dialects.event_stream import asks_usage
from descant.gateway.dialects.openai_stream import OpenAIStream
from descant.gateway.dialects.openai_usage import read_usage
from descant.gateway.dialects.refusal import Secrets, refusal_body
from descant.schema.errors import GarbledAnswer, InputError, UnsupportedField

_LISTS: Mapping[Operation, str] = {
    "chat": "choices",
    "completions": "choices",
    "embeddings": "data",
    "scores": "answers",
}
"""What every answer has."""
PATH_OF: Mapping[Operation, str] = {operation: path for path, operation in PATHS.items()}
"""Where each operation is asked for."""
_MOST_KEYS, _MOST_SEARCHED_BYTES = 50, 1 << 20
_DECIDED = frozenset(
    {"model", "messages", "prompt", "stream", "n", "max_tokens", "max_completion_tokens"}
)
"""What the gateway lets a call pass by."""


@dataclass(frozen=True)
class OpenAIDialect:
    """Bytes pass as they are wherever nothing has to change."""

    base_path: str
    operations: frozenset[Operation]
    """What the upstream can be asked."""
    headers: Mapping[str, str] = field(repr=False)
    """What proves the gateway to the upstream."""
    secrets: Secrets

    def request(self, call: Call, model: str) -> UpstreamRequest:
        """Return the request, with the caller's very bytes where they say what is meant."""
        if call.operation not in self.operations:
            raise UnsupportedField(f"This upstream answers no {call.operation}.", field="model")
        return UpstreamRequest(
            "POST", self.path(call, model), request_headers(call, self.headers), _body(call, model)
        )

    def path(self, call: Call, model: str) -> str:
        """Return where this operation is asked for; `model` is in it for some."""
        del model
        return self.base_path + PATH_OF[call.operation]

    def place(self, path: str) -> str:
        """Return where what OpenAI has at this path is."""
        return self.base_path + path

    def listing(self) -> UpstreamRequest:
        """Return the request that lists its models."""
        headers = {"accept": "application/json", **self.headers}
        return UpstreamRequest("GET", f"{self.base_path}/v1/models", headers, b"")

    def answer(self, call: Call, body: bytes) -> Answered:
        """Return the same bytes, with the usage they tell."""
        document = parse_object(body)
        if document is None:
            raise GarbledAnswer("The upstream's answer is no JSON object.")
        if not isinstance(document.get(_LISTS[call.operation]), list):
            raise GarbledAnswer(f"The upstream's answer has no {_LISTS[call.operation]}.")
        hashes = _adapter_hashes(document) if call.operation == "scores" else ()
        return Answered(body, read_usage(document), hashes)

    def stream(self, call: Call) -> StreamReader:
        """Return a reader that passes events on as they are."""
        return OpenAIStream(call, self.secrets)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the refusal in OpenAI's words, without the upstream's secrets."""
        del headers
        return refusal_body(status, body, self.secrets)


def request_headers(call: Call, own: Mapping[str, str]) -> dict[str, str]:
    """Return every header a request needs, `own` last."""
    accept = "text/event-stream" if call.is_stream else "application/json"
    # Compressed, events would come late and in other pieces than they were written.
    plain = {"accept-encoding": "identity", "content-type": "application/json"}
    return {"accept": accept, **plain, **own}


def _body(call: Call, model: str) -> bytes:
    refuse_lookalikes(call.body)
    body = _adjusted(call, model)
    if body is call.body and _is_unambiguous(call):
        return call.raw
    try:
        return dump(body)
    except TooDeep as error:
        raise InputError("The request is nested too deeply.") from error


def _adjusted(call: Call, model: str) -> Mapping[str, Any]:
    """Return the body the upstream should read: the call's own where nothing has to change."""
    if call.operation == "scores":
        # The gateway's own addition: a Descant server takes the adapters from its indicators.
        kept = {key: value for key, value in call.body.items() if key != "model"}
        return kept if "model" in call.body else call.body
    changes: dict[str, Any] = {} if call.body.get("model") == model else {"model": model}
    if call.is_stream and not asks_usage(call):
        options = call.body.get("stream_options")
        given = options if isinstance(options, dict) else {}
        changes["stream_options"] = {**given, "include_usage": True}
    return {**call.body, **changes} if changes else call.body


def _is_unambiguous(call: Call) -> bool:
    r"""Return whether each field stands in it once: of two, the upstream may read the other.

    A quote inside a text is written ``\"``, so ``"model"`` is always a whole string, mostly a key.
    """
    if b"\\u00" in call.raw:  # Letters of a key may be written so.
        return False
    if len(call.body) > _MOST_KEYS or len(call.raw) > _MOST_SEARCHED_BYTES:
        # To look for each key in all of it would take longer than to write it anew.
        return False
    return all(call.raw.count(b'"%s"' % key.encode(errors="replace")) == 1 for key in call.body)


def refuse_lookalikes(body: Mapping[str, Any]) -> None:
    """Refuse ``Model`` beside ``model``: some servers read keys in either case."""
    for key in body:
        if key not in _DECIDED and key.casefold() in _DECIDED:
            meant = key.casefold()
            raise InputError(f"{key!r} is no field.", field=key, remedy=f"Write {meant!r}.")


def _adapter_hashes(document: dict[str, Any]) -> tuple[str, ...]:
    """Return the hashes a scorecard names, each once."""
    answers = [each for each in list_in(document, "answers") if isinstance(each, dict)]
    named = [object_in(each, "adapter").get("content_hash") for each in answers]
    return tuple(dict.fromkeys(each for each in named if isinstance(each, str)))
