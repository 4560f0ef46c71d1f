"""Who may share an answer with whom: the hard key, in which nothing is fuzzy.

Two requests share an answer only if the tenant, the operation, the model's name, the content that
name stands for, the prompt's version and *every* field of the body are the same. A field that nobody
here has heard of is part of the key like any other. Only how an answer is delivered is not
(`DELIVERY`): a stream and a whole body say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from descant.gateway.call import Call

DELIVERY = frozenset({"stream", "stream_options"})
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model's name stands for at this moment."""

    content: str = ""
    """The hash of the model or adapter; empty where an upstream does not tell."""
    prompt: str = ""
    """``name@version`` of the template the request was made from, and its hash."""


@dataclass(frozen=True, slots=True)
class FreeText:
    """The one part of a request that may be compared by meaning, and the key of all the rest."""

    partition: bytes
    text: str


def exact_key(call: Call, identity: Identity) -> bytes:
    """Return the key of everything that decides a call's answer."""
    return partition_key(call, identity, call.body)


def partition_key(call: Call, identity: Identity, body: Mapping[str, Any]) -> bytes:
    """Return the key of a call as if `body` were its body."""
    owner = [call.caller.tenant, call.operation, call.model, identity.content, identity.prompt]
    fields = {name: value for name, value in body.items() if name not in DELIVERY}
    # Line feeds are escaped within JSON, so that no two pairs of owner and fields look the same.
    text = orjson.dumps(owner) + b"\n" + orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=_KEY_BYTES).digest()


def split_free_text(call: Call, identity: Identity) -> FreeText | None:
    """Take the last user message out of a chat; None where there is no such plain text.

    System prompt, examples, every earlier turn, tools, schema and decoding stay in the hard key.
    """
    messages = call.body.get("messages")
    if call.operation != "chat" or not isinstance(messages, list) or not messages:
        return None
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    text = last.get("content")
    if not isinstance(text, str) or not text.strip():
        return None
    rest = {**call.body, "messages": [*messages[:-1], {**last, "content": None}]}
    return FreeText(partition_key(call, identity, rest), text)
