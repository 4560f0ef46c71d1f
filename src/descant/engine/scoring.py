"""Turns a score request into sequences, and their hidden states into label probabilities.

Tails whose adapter acts only from its invocation on share one reading, by the base model or by the
reader they were trained behind. A plain LoRA changes every token, so each has a reading of its own:
exact, at its own price. The base model itself is an adapter that never acts.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from descant.engine.label_trie import LabelTrie, build_trie, label_log_probabilities
from descant.engine.requests import ScoreRequest, ScoreResult, Tail
from descant.engine.sequence import Sequence
from descant.model import LoraAdapter, Transformer
from descant.schema.errors import InputError, InvocationMissing


class Scoring:
    """A score request under way: its readings, and per tail the forks that carry its labels."""

    def __init__(self, request: ScoreRequest, adapters_at_once: int):
        """Lay out the sequences; nothing runs yet.

        A reading and its forks are admitted together. Where they need more adapters than can be
        active at once, further readings carry the rest; they find the prefix in the cache.

        Raises:
            InvocationMissing: an aLoRA adapter's invocation is not in its tail.
            InvalidIndicator: two labels of a tail cannot be told apart.
        """
        if not request.prefix_ids or not request.tails:
            raise InputError("A score request needs a prefix and at least one tail.")
        if not all(tail.token_ids for tail in request.tails):
            raise InputError("A tail needs at least one token.", field="tails")
        self.request = request
        self.tries = [build_trie(tail.labels) for tail in request.tails]
        self._adapters_at_once = adapters_at_once
        self.readings: list[Sequence] = []
        """The shared ones, and one for each adapter that is active from the start."""
        self._open: dict[str | None, Sequence] = {}
        self.forks = [
            self._fork(tail, trie) for tail, trie in zip(request.tails, self.tries, strict=True)
        ]

    @property
    def sequences(self) -> list[Sequence]:
        """What has to be queued."""
        return self.readings

    @property
    def is_done(self) -> bool:
        """True when every fork has been computed."""
        return all(fork.hidden and not fork.num_remaining for forks in self.forks for fork in forks)

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

    def _fork(self, tail: Tail, trie: LabelTrie) -> list[Sequence]:
        activation = _activation(tail, len(self.request.prefix_ids))
        reading = self._reading(tail, activation)
        beginning = [*self.request.prefix_ids, *tail.token_ids]
        forks = [
            Sequence(
                [*beginning, *path],
                adapter=tail.adapter,
                activation=activation,
                salt=self.request.salt,
                read_from=len(beginning) - 1,
            )
            for path in trie.paths
        ]
        reading.children.extend(forks)
        return forks

    def _reading(self, tail: Tail, activation: int) -> Sequence:
        adapter = tail.adapter
        if adapter is not None and activation:
            adapter = adapter.reader
        key = None if adapter is None else adapter.content_hash
        reading = self._open.get(key)
        if reading is not None and self._has_room(reading, tail):
            return reading
        reading = Sequence(list(self.request.prefix_ids), adapter=adapter, salt=self.request.salt)
        self._open[key] = reading
        self.readings.append(reading)
        return reading

    def _has_room(self, reading: Sequence, tail: Tail) -> bool:
        active = reading.adapters()
        if tail.adapter is None or tail.adapter.content_hash in active:
            return True
        return len(active) < self._adapters_at_once

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


def _activation(tail: Tail, num_prefix: int) -> int:
    if tail.adapter is None:
        return num_prefix
    if tail.adapter.activation == "start":
        return 0
    return num_prefix + first_active(tail.adapter, tail.token_ids)
