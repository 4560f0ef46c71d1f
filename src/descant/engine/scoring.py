"""Turns a score request into sequences, and their hidden states into label probabilities.

Tails whose adapter acts only from its invocation on share one reading by the base model. A plain
LoRA changes every token, so each has a reading of its own: exact, at its own price. The base model
itself is an adapter that never acts.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.engine.adapter_pool import AdapterPool
from descant.engine.label_trie import LabelIds, LabelTrie, build_trie, label_log_probabilities
from descant.engine.sequence import Sequence
from descant.model import LoraAdapter, Transformer
from descant.schema.errors import AdapterNotFound, InputError, InvocationMissing


@dataclass(frozen=True)
class Tail:
    """One question behind a prefix: its tokens, its adapter, its labels as token ids."""

    token_ids: tuple[int, ...]
    labels: tuple[LabelIds, ...]
    adapter_hash: str | None = None
    """Content hash of a loaded adapter; None asks the base model."""


@dataclass(frozen=True)
class ScoreRequest:
    """One prefix and every question about it."""

    prefix_ids: tuple[int, ...]
    tails: tuple[Tail, ...]
    salt: str = ""
    """Cached blocks are shared only between requests of equal salt."""


@dataclass(frozen=True)
class ScoreResult:
    """What the adapters said, and what it took."""

    log_probabilities: tuple[Float[Tensor, " labels"], ...]
    """One per tail, normalised over that tail's labels."""
    num_read: int
    """Tokens that went through the model."""
    num_shared: int
    """Tokens that would have gone through it too, had every tail read the prefix for itself."""


class Scoring:
    """A score request under way: its readings, and per tail the forks that carry its labels."""

    def __init__(self, request: ScoreRequest, pool: AdapterPool):
        """Lay out the sequences; nothing runs yet.

        Raises:
            AdapterNotFound: a tail names an adapter that is not resident.
            InvocationMissing: an aLoRA adapter's invocation is not in its tail.
            InvalidIndicator: two labels of a tail cannot be told apart.
        """
        if not request.prefix_ids or not request.tails:
            raise InputError("A score request needs a prefix and at least one tail.")
        self.request = request
        self.tries = [build_trie(tail.labels) for tail in request.tails]
        self._readings: dict[str | None, Sequence] = {}
        self.forks = [
            self._fork(tail, trie, pool)
            for tail, trie in zip(request.tails, self.tries, strict=True)
        ]

    @property
    def readings(self) -> list[Sequence]:
        """The shared reading, and one for each adapter that is active from the start."""
        return list(self._readings.values())

    def result(self, model: Transformer) -> ScoreResult:
        """Return every tail's label probabilities; the sequences must have run."""
        sequences = [*self.readings, *(fork for forks in self.forks for fork in forks)]
        num_run = sum(sequence.num_run for sequence in sequences)
        num_alone = sum(
            len(self.request.prefix_ids) + sum(fork.num_prompt - fork.num_shared for fork in forks)
            for forks in self.forks
        )
        with torch.inference_mode():
            scores = self._label_scores(model)
        return ScoreResult(scores, num_run, num_alone - num_run)

    def _fork(self, tail: Tail, trie: LabelTrie, pool: AdapterPool) -> list[Sequence]:
        activation = _activation(tail, len(self.request.prefix_ids), pool)
        reading = self._reading(tail.adapter_hash if activation == 0 else None)
        beginning = [*self.request.prefix_ids, *tail.token_ids]
        forks = [
            Sequence(
                [*beginning, *path],
                adapter_hash=tail.adapter_hash,
                activation=activation,
                salt=self.request.salt,
                read_from=len(beginning) - 1,
            )
            for path in trie.paths
        ]
        reading.children.extend(forks)
        return forks

    def _reading(self, adapter_hash: str | None) -> Sequence:
        if adapter_hash not in self._readings:
            self._readings[adapter_hash] = Sequence(
                list(self.request.prefix_ids), adapter_hash=adapter_hash, salt=self.request.salt
            )
        return self._readings[adapter_hash]

    def _label_scores(self, model: Transformer) -> tuple[Tensor, ...]:
        closed = [i for i, trie in enumerate(self.tries) if trie.single_tokens is not None]
        scores = dict(zip(closed, self._closed_scores(closed, model), strict=True))
        for index, trie in enumerate(self.tries):
            if index not in scores:
                rows = [
                    model.logits(torch.cat(fork.hidden)).log_softmax(-1)
                    for fork in self.forks[index]
                ]
                scores[index] = label_log_probabilities(trie, rows)
        return tuple(scores[index].cpu() for index in range(len(self.tries)))

    def _closed_scores(self, closed: Seq[int], model: Transformer) -> list[Tensor]:
        # One-token labels need only their own rows of the vocabulary: one small product for all.
        if not closed:
            return []
        labels = [self.tries[index].single_tokens or () for index in closed]
        vocabulary = sorted({token for tokens in labels for token in tokens})
        column = {token: place for place, token in enumerate(vocabulary)}
        hidden = torch.cat([self.forks[index][0].hidden[-1][-1:] for index in closed])
        logits = model.logits(hidden, torch.tensor(vocabulary, device=hidden.device)).cpu()
        return [
            logits[row, [column[token] for token in tokens]].log_softmax(-1)
            for row, tokens in enumerate(labels)
        ]


def first_active(adapter: LoraAdapter, token_ids: Seq[int]) -> int:
    """Return the position from which an adapter acts in a prompt.

    Raises:
        InvocationMissing: it acts from its invocation on, and that is not there.
    """
    position = adapter.first_active(token_ids)
    if position is None:
        raise InvocationMissing(
            f"Adapter {adapter.name!r} acts from its invocation tokens on, and the prompt has none.",
            remedy="End the prompt with the adapter's invocation (the chat template's reply header).",
        )
    return position


def resident(pool: AdapterPool, content_hash: str) -> LoraAdapter:
    """Return a resident adapter.

    Raises:
        AdapterNotFound: it is not resident.
    """
    if content_hash not in pool:
        raise AdapterNotFound(
            f"Adapter {content_hash} is not loaded.", remedy="Load it into the engine first."
        )
    return pool.get(content_hash)


def _activation(tail: Tail, num_prefix: int, pool: AdapterPool) -> int:
    if tail.adapter_hash is None:
        return num_prefix
    adapter = resident(pool, tail.adapter_hash)
    if adapter.activation == "start":
        return 0
    return num_prefix + first_active(adapter, tail.token_ids)
