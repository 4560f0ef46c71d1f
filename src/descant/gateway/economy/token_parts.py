"""What the tokens of a request are spent on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from descant.gateway.economy.frequent_prefixes import FrequentPrefixes
from descant.gateway.economy.prompt_size import PromptSize, prompt_size, schema_fields

PartName = Literal["system", "examples", "history", "question", "tools"]
PARTS: tuple[PartName, ...] = ("system", "examples", "history", "question", "tools")
_SYSTEM = ("system", "developer")
# Beginnings are looked at no deeper; a longer one is constant as far as that.
_MOST_DEPTH = 32
_NOMINAL_BYTES_PER_TOKEN = 4.0
_SCHEMAS = frozenset({"tools", "functions", "response_format"})


@dataclass(frozen=True, slots=True)
class PartWeights:
    """How a prompt divides up; only the proportions count."""

    weights: Mapping[PartName, float]
    constant: float
    """Of these, what most requests of the route have in common."""

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.weights.values())


def weigh_parts(body: Mapping[str, Any], prefixes: FrequentPrefixes) -> PartWeights:
    """Divide a prompt into its parts, and learn from it what all prompts begin with.

    Examples are messages before the last user turn that are marked (their ``name`` begins with
    ``example``, as OpenAI writes it) or that many requests have in common; other turns are history.
    """
    weights = dict.fromkeys(PARTS, 0.0)
    constant = 0.0
    prefixes.count_request()
    begins_alike = _Beginning(prefixes)
    for value in schema_fields(body):
        weight = _schema_tokens(value)
        weights["tools"] += weight
        constant += weight * begins_alike.goes_on(value)
    messages = body.get("messages")
    if not isinstance(messages, list):
        size = prompt_size({name: body[name] for name in body if name not in _SCHEMAS})
        weights["question"] += _tokens(size)
        return PartWeights(weights, constant)
    question = _last_user(messages)
    for place, message in enumerate(messages):
        weight = _message_tokens(message)
        is_constant = place < question and begins_alike.goes_on(message)
        constant += weight * is_constant
        weights[_part(message, place >= question, is_constant)] += weight
    return PartWeights(weights, constant)


class _Beginning:
    """Follows one prompt from its beginning for as long as it is like the others."""

    def __init__(self, prefixes: FrequentPrefixes):
        self._prefixes = prefixes
        self._key = 0
        self._depth = 0
        self._is_like_others = True

    def goes_on(self, value: object) -> bool:
        if self._is_like_others and self._depth < _MOST_DEPTH:
            self._depth += 1
            self._key = hash((self._key, orjson.dumps(value)))
            self._is_like_others = self._prefixes.observe(self._key)
        return self._is_like_others and self._depth < _MOST_DEPTH


def _last_user(messages: list[Any]) -> int:
    users = [place for place, message in enumerate(messages) if _field(message, "role") == "user"]
    return users[-1] if users else len(messages)


def _part(message: object, is_question: bool, is_constant: bool) -> PartName:
    name = _field(message, "name")
    if isinstance(name, str) and name.startswith("example"):
        return "examples"
    if _field(message, "role") in _SYSTEM:
        return "system"
    if is_question:
        return "question"
    return "examples" if is_constant else "history"


def _field(message: object, name: str) -> object:
    return message.get(name) if isinstance(message, Mapping) else None


def _schema_tokens(value: object) -> float:
    size = PromptSize()
    size.add_json(value)
    return _tokens(size)


def _message_tokens(message: object) -> float:
    size = PromptSize()
    size.add_message(message)
    return _tokens(size)


def _tokens(size: PromptSize) -> float:
    return size.num_bytes / _NOMINAL_BYTES_PER_TOKEN + size.fixed_tokens
