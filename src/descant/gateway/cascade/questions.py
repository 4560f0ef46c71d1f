"""What a stage is asked: the caller's request with what the cascade must know, and no more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import orjson

from descant.gateway.call import Call
from descant.gateway.cascade.offers import Json


def stage_call(call: Call, model: str, pending: Sequence[str] | None, deadline_s: float) -> Call:
    """Return the call that a stage is asked: whole answers, by its model, about what is open.

    `pending` are the indicators that nobody has settled; None asks for all there are.
    """
    body = {key: value for key, value in call.body.items() if not key.startswith("stream")}
    if call.operation == "scores":
        body |= {} if pending is None else {"indicators": list(pending)}
    else:
        body["model"] = model
        body |= _logprobs(call)
    return replace(
        call,
        model=model,
        body=body,
        raw=orjson.dumps(body),
        is_stream=False,
        deadline_s=deadline_s,
    )


def _logprobs(call: Call) -> dict[str, Any]:
    if call.operation == "chat":
        return {"logprobs": True}
    asked = call.body.get("logprobs")
    return {"logprobs": 0 if asked is None else asked}


def asked_for_logprobs(call: Call) -> bool:
    """Return whether the caller wants the logarithms that the cascade asks for anyway."""
    if call.operation == "chat":
        return call.body.get("logprobs") is True
    return call.body.get("logprobs") is not None


def without_logprobs(body: Json) -> dict[str, Any]:
    """Return a text answer as a caller gets it who did not ask for them."""
    return {**body, "choices": [{**choice, "logprobs": None} for choice in body["choices"]]}


def named_indicators(call: Call) -> list[str] | None:
    """Return the indicators a request names; None where it asks for all."""
    named = call.body.get("indicators")
    return None if named is None else [str(name) for name in named]


def still_open(pending: Sequence[str] | None, settled: Collection[str]) -> list[str] | None:
    """Return what is left to ask; None while nobody knows what there is."""
    return None if pending is None else [name for name in pending if name not in settled]
