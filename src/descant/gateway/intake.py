"""What a caller sent → a `Call`: who asks, what for, how much at most, and until when."""

from __future__ import annotations

import itertools
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from descant.gateway import prompting
from descant.gateway.call import Call, Caller, Operation
from descant.gateway.config import ServerConfig
from descant.gateway.economy import PromptLibrary
from descant.gateway.key_ring import KeyRing
from descant.schema.errors import InputError, ModelNotFound

Headers = Mapping[bytes, bytes]
SCORECARD = "scorecard"
"""The model of a request for a scorecard that names none."""
_DEEPEST = 254
"""How deep orjson writes; it reads deeper."""
_USABLE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Estimator(Protocol):
    """Says what a request may take before anybody has counted its tokens."""

    def estimate(self, model: str, body: Mapping[str, Any]) -> tuple[int, int]:
        """Return the tokens it sends, and the most it lets be written."""
        ...


class Intake:
    """Reads requests under one version of the gateway's file."""

    def __init__(
        self,
        config: ServerConfig,
        keys: KeyRing,
        estimator: Estimator,
        clock: Callable[[], float],
        prompts: PromptLibrary | None = None,
    ):
        self._config = config
        self._keys = keys
        self._estimator = estimator
        self._clock = clock
        self._id_prefix = f"req-{secrets.token_hex(8)}-"
        self._numbers = itertools.count()
        self._prompts = prompts

    def read(self, operation: Operation, headers: Headers, raw: bytes, received_s: float) -> Call:
        """Return the call.

        Raises:
            Unauthorized: its key is missing or unknown.
            ModelNotFound: the model is not open to this caller.
            InputError: it is not a JSON object that names a model, or its prompt is wrong.
            NotFound: it names a prompt that is not there.
        """
        caller = self._keys.caller(headers)
        body = _parsed(raw)
        model = _model(operation, body)
        if operation == "scores":
            check_indicators(body, caller)
        elif not caller.may_use(model):
            # In the words used where there is none: who may not use it need not learn of it.
            raise no_such_model(model)
        prompt = ""
        if prompting.FIELD in body:
            body, prompt = prompting.write_out(operation, body, self._prompts)
            raw = orjson.dumps(body)
        prompt_tokens, max_tokens = self._estimator.estimate(model, body)
        return Call(
            f"{self._id_prefix}{next(self._numbers):x}",
            operation,
            model,
            body,
            raw,
            caller,
            prompt_tokens,
            max_tokens,
            _is_stream(body),
            received_s,
            received_s + self._patience_s(headers),
            prompt,
        )

    def _patience_s(self, headers: Headers) -> float:
        stated = headers.get(b"x-deadline-s")
        if stated is None:
            return self._config.deadline_s
        try:
            patience_s = float(stated)
        except ValueError:
            patience_s = math.nan
        if not 0 < patience_s < math.inf:
            raise InputError("x-deadline-s is a number of seconds.", field="x-deadline-s")
        return min(patience_s, self._config.deadline_s)


def client_id(headers: Headers) -> bytes | None:
    """Return the caller's own id of a request, to be given back beside the gateway's.

    It never takes the gateway's place: whoever may choose an id of the books may have one line for
    many requests.
    """
    offered = headers.get(b"x-client-request-id") or headers.get(b"x-request-id", b"")
    return offered if _USABLE_ID.fullmatch(offered) else None


def no_such_model(model: str) -> ModelNotFound:
    """Return what is said of a model that is not there, or not for this caller."""
    return ModelNotFound(f"No model {model!r}.", field="model", remedy="List them: GET /v1/models.")


def _model(operation: Operation, body: Mapping[str, Any]) -> str:
    # A scorecard is asked of every adapter at once; who routes them apart may still name a model.
    model = body.get("model", SCORECARD if operation == "scores" else None)
    if not isinstance(model, str) or not model:
        raise InputError("A request names a model.", field="model")
    return model


def _is_stream(body: Mapping[str, Any]) -> bool:
    stream = body.get("stream")
    if stream is None or isinstance(stream, bool):
        return stream is True
    # Some upstreams take "yes" for true: their answer would be read as garbage, and held against them.
    raise InputError("stream is true or false.", field="stream")


def check_indicators(body: Mapping[str, Any], caller: Caller) -> None:
    """Let pass what asks for indicators that are open to the caller alone.

    Raises:
        InputError: it names none, and some are not open.
        ModelNotFound: it names one that is not.
    """
    named = body.get("indicators")
    if named is None:
        if "*" not in caller.models:
            raise InputError(
                "This key may use some indicators alone.",
                field="indicators",
                remedy="Name those that are asked.",
            )
        return
    for name in named if isinstance(named, list) else ():
        if isinstance(name, str) and not caller.may_use(name):
            raise no_such_model(name)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InputError(f"The request is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InputError("The request is not a JSON object.")
    if _is_too_deep(raw, body):
        raise InputError("The request is nested too deeply.")
    return body


def _is_too_deep(raw: bytes, body: dict[str, Any]) -> bool:
    """Return whether it could not be written again; each who walks through it may rely on that."""
    if raw.count(b"[") + raw.count(b"{") < _DEEPEST:
        return False
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:
        return True
    return False
