"""Embeddings from an endpoint: one text a request, within the budget, and kept like any answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.distillation import Answered, Ask, Nonsense, Opinion, token_count
from descant.evaluation import Embedding, Unscored
from descant.release.endpoint_plan import EndpointPlan
from descant.release.endpoint_run import OnAsked, run_source
from descant.schema import Indicator, Transcript, Turn
from descant.schema.errors import InvalidConfig

_EMBEDDING = Indicator("embedding", "Embedding?", (), (), "text", "embedding", max_tokens=1)
_EXTRA_TOKENS = 16


@dataclass(frozen=True)
class EndpointEmbedder:
    """Represents texts by a model behind ``/embeddings``."""

    plan: EndpointPlan
    answers: Path
    on_progress: OnAsked = lambda done, total, spent: None

    @property
    def name(self) -> str:
        """The model and its address."""
        return self.plan.name

    def embed(self, texts: Sequence[str], /) -> list[Embedding]:
        """Return a vector for each text; what was asked before is not asked again.

        Raises:
            InvalidConfig: there is no model, or address, limit or file cannot be used.
            DescantError: not everything was asked; what was answered is kept.
        """
        if self.plan.model is None:
            raise InvalidConfig(
                "Embeddings come from a model.", field="model", remedy="Name it behind the address."
            )
        filled = [text for text in texts if text.strip()]
        questions = [(Transcript("text", (Turn("", text),)), [_EMBEDDING]) for text in filled]
        teacher = EmbeddingTeacher(self.plan.model)
        run = asyncio.run(run_source(self.plan, teacher, questions, self.answers, self.on_progress))
        vectors = dict(zip(filled, map(_vector, run.answered), strict=True))
        return [vectors.get(text, Unscored("the text is empty")) for text in texts]


class EmbeddingTeacher:
    """Asks for the embedding of a conversation of one turn, and keeps it as a text."""

    path = "/embeddings"

    def __init__(self, model: str):
        self._model = model

    def asks(self, transcript: Transcript, indicators: Sequence[Indicator]) -> list[Ask]:
        """Return one request."""
        return [Ask(transcript, tuple(indicators))]

    def content(self, ask: Ask) -> Mapping[str, Any]:
        """Return model and text."""
        return self.bodies(ask)[0]

    def bodies(self, ask: Ask) -> list[dict[str, Any]]:
        """Return model and text; numbers are asked for as numbers."""
        [turn] = ask.transcript.turns
        return [{"model": self._model, "input": turn.text, "encoding_format": "float"}]

    def took(self, ask: Ask, body: Mapping[str, Any]) -> None:
        """Do nothing: there is one form."""

    def most_tokens(self, ask: Ask, num_bytes: int) -> tuple[int, int]:
        """Return as many tokens as bytes; nothing is written."""
        return num_bytes + _EXTRA_TOKENS, 0

    def opinions(self, ask: Ask, document: Any) -> dict[str, Opinion]:
        """Read the vector.

        Raises:
            Nonsense: there is none in it.
        """
        [indicator] = ask.indicators
        try:
            vector = np.array(document["data"][0]["embedding"], dtype=np.float32)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise Nonsense("it is no embedding") from error
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise Nonsense("its embedding is no vector of numbers")
        return {indicator.name: Opinion(base64.b64encode(vector.tobytes()).decode())}

    def output(self, document: Any) -> None:
        """Return nothing: the opinion says it all."""

    def used_tokens(self, document: Any) -> tuple[int, int] | None:
        """Return what the reply's usage says."""
        usage = document.get("usage") if isinstance(document, dict) else None
        read = token_count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
        return None if read is None else (read, 0)


def _vector(answered: Answered) -> Embedding:
    verdict = answered.verdicts[_EMBEDDING.name]
    if verdict is None or verdict.label is None:
        said = answered.reasons.get(_EMBEDDING.name) or (verdict and verdict.unanswered)
        return Unscored(f"no embedding: {said}")
    return np.frombuffer(base64.b64decode(verdict.label), dtype=np.float32).astype(np.float64)
