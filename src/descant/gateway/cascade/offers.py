"""What a stage's answer offers: one thing for each indicator, or one text; and its taking apart.

Nothing that an upstream sends is trusted to have a form: what has not is `UpstreamFailed`, and the
next stage is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descant.gateway.call import Operation
from descant.schema.errors import UpstreamFailed

TEXT_UNIT = "answer"
"""What the answer of a chat or completion is called where answers have names."""

Json = Mapping[str, Any]
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Offer:
    """One answer, before anyone said whether it will do."""

    label: str | None = None
    confidence: float | None = None
    """Calibrated, of an indicator; of a text the geometric mean of its tokens' probabilities."""
    texts: tuple[str, ...] = ()
    """Of a chat or completion, one for each choice."""
    has_tool_calls: bool = False


def offers_of(operation: Operation, body: Json) -> dict[str, Offer]:
    """Return what an answer offers, by indicator or as `TEXT_UNIT`.

    Raises:
        UpstreamFailed: it has no known form.
    """
    try:
        if operation == "scores":
            return dict(_score_offers(body))
        return {TEXT_UNIT: _text_offer(operation, body["choices"])}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise UpstreamFailed(f"An answer to {operation} has no known form.") from error


def _score_offers(body: Json) -> Iterator[tuple[str, Offer]]:
    for answer in body["answers"]:
        indicator = _text(answer["indicator"])
        if answer.get("unanswered") is None:
            yield indicator, Offer(_text(answer["label"]), _share(answer["confidence"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _share(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | str) or not 0 <= value <= 1:
        raise ValueError("no share")
    return float(value)


def _text_offer(operation: Operation, choices: Sequence[Json]) -> Offer:
    if operation == "completions":
        texts = tuple(_text(choice["text"]) for choice in choices)
        sure = [_completion_confidence(choice) for choice in choices]
        return Offer(None, _least(sure), texts)
    messages = [choice["message"] for choice in choices]
    texts = tuple(_text(message.get("content") or "") for message in messages)
    has_tool_calls = bool(messages) and all(message.get("tool_calls") for message in messages)
    return Offer(None, _least([_chat_confidence(c) for c in choices]), texts, has_tool_calls)


def _least(confidences: Sequence[float | None]) -> float | None:
    """Return the confidence of the least sure choice; None if one has none."""
    known = [confidence for confidence in confidences if confidence is not None]
    return min(known) if known and len(known) == len(confidences) else None


def _chat_confidence(choice: Json) -> float | None:
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    return _mean_probability([token["logprob"] for token in tokens])


def _completion_confidence(choice: Json) -> float | None:
    # The first token of an echoed prompt has no probability.
    logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or ()
    return _mean_probability([value for value in logprobs if value is not None])


def _mean_probability(logprobs: Sequence[float]) -> float | None:
    """Return the geometric mean of the tokens' probabilities."""
    if not logprobs:
        return None
    mean = math.fsum(logprobs) / len(logprobs)
    # Rounding may leave a sum just above 0; a NaN must never pass for certainty.
    return _share(math.exp(0.0 if 0 < mean < _ROUNDING else mean))
