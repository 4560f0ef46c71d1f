"""Calls, answers, and models that answer as a script says."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from descant.gateway import Call, Caller, Operation, Usage
from descant.gateway.cascade import StageAnswer, StageConfig
from descant.gateway.cascade.stages import Rule

NOW_S = 100.0
Stage = tuple[str, StageConfig]


def stage(model: str, *accept: Rule, **more: Any) -> Stage:
    return model, StageConfig(accept, **more)


def call(operation: Operation = "scores", **body: Any) -> Call:
    raw = orjson.dumps(body)
    return Call(
        id="r1",
        operation=operation,
        model="refunds",
        body=body,
        raw=raw,
        caller=Caller("k", "t"),
        prompt_tokens=10,
        max_tokens=10,
        is_stream=bool(body.get("stream")),
        received_s=NOW_S,
        deadline_s=NOW_S + 60,
    )


def scorecard(answers: Mapping[str, tuple[str, float]], tokens_read: int = 10) -> dict[str, Any]:
    return {
        "transcript_id": "c1",
        "answers": [
            {
                "indicator": name,
                "label": label,
                "probabilities": {label: confidence},
                "confidence": confidence,
                "adapter": None,
                "source": "model",
                "unanswered": None,
                "raw_probabilities": None,
            }
            for name, (label, confidence) in answers.items()
        ],
        "usage": {"tokens_read": tokens_read, "tokens_shared": 1, "time_s": 0.5},
    }


def unanswered(body: dict[str, Any], *names: str) -> dict[str, Any]:
    for answer in body["answers"]:
        if answer["indicator"] in names:
            answer |= {"label": None, "confidence": None, "unanswered": "context_too_long"}
    return body


def chat(text: str | None, confidence: float | None = None, **message: Any) -> dict[str, Any]:
    tokens = None if confidence is None else [{"token": "x", "logprob": math.log(confidence)}] * 3
    return {
        "id": "x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "logprobs": None if tokens is None else {"content": tokens},
                "finish_reason": "stop",
            }
        ],
    }


def completion(text: str, logprobs: Sequence[float | None]) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": {"token_logprobs": list(logprobs)}}
    return {"id": "x", "choices": [choice]}


Said = dict[str, Any] | Exception | Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass
class Models:
    """Answers each model's calls as told, and keeps what it was asked."""

    said: Mapping[str, Said]
    asked: list[tuple[str, Call]] = field(default_factory=list)

    async def __call__(self, call: Call, model: str) -> StageAnswer:
        self.asked.append((model, call))
        said = self.said[model]
        if isinstance(said, Exception):
            raise said
        body = said if isinstance(said, dict) else await said(call)
        return StageAnswer(body, Usage(10, 2, 1), cost_nano=len(self.asked) * 1000)

    @property
    def models(self) -> list[str]:
        return [model for model, _ in self.asked]
