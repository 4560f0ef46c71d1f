"""Chooses the next token of every generation of a step from their logits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descant.engine.requests import SamplingParams
from descant.schema import Constraint, DescantError

_CANDIDATES = 512
"""Most of the mass is among the likeliest few; only where it is not, the whole row is sorted."""


@dataclass(frozen=True)
class Choice:
    """One chosen token."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class TokenChooser:
    """How one generation chooses: its parameters, its randomness and what it has said."""

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int],
        generator: random.Random,
        constraint: Constraint | None = None,
    ):
        self.params = params
        self.constraint = constraint
        self._generator = generator
        self._seen = set(prompt_ids) if params.repetition_penalty != 1.0 else set()
        self._said: Counter[int] = Counter()
        self._num_said = 0

    @property
    def max_tokens(self) -> int:
        """How many tokens it may generate at most."""
        return self.params.max_tokens

    @property
    def is_plain(self) -> bool:
        """True when the likeliest token of the untouched logits is the choice."""
        params = self.params
        return (
            params.temperature == 0.0
            and params.num_logprobs is None
            and self.constraint is None
            and not self._adjusts
        )

    def choose(self, logits: Float[Tensor, " V"]) -> Choice:
        """Return the next token; `logits` may be changed in place.

        Semantics:
            p = softmax((logits - penalties + bias) / temperature), cut to the `top_k` likeliest,
            to the smallest set that holds `top_p` of the mass and to what has at least `min_p` of
            the likeliest one's probability, renormalised
        """
        reported = self._reported(logits)
        if self._adjusts:
            self._adjust(logits)
        if self.constraint is not None:
            logits.masked_fill_(~_allowed(self.constraint, len(logits)), -torch.inf)
        token_id = int(logits.argmax()) if self.params.temperature == 0.0 else self._draw(logits)
        if reported is None:
            return Choice(token_id)
        top = reported.topk(min(self.params.num_logprobs or 0, len(reported)))
        pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        return Choice(token_id, float(reported[token_id]), pairs)

    def accept(self, token_id: int) -> None:
        """Go on behind a generated token."""
        self._seen.add(token_id)
        self._said[token_id] += 1
        self._num_said += 1
        if self.constraint is not None:
            self.constraint.accept(token_id)

    @property
    def _adjusts(self) -> bool:
        params = self.params
        has_penalty = (
            params.presence_penalty != 0.0
            or params.frequency_penalty != 0.0
            or params.repetition_penalty != 1.0
        )
        return has_penalty or bool(params.logit_bias) or self._num_said < params.min_tokens

    def _reported(self, logits: Tensor) -> Tensor | None:
        return None if self.params.num_logprobs is None else logits.log_softmax(-1)

    def _adjust(self, logits: Float[Tensor, " V"]) -> None:
        params = self.params
        if params.repetition_penalty != 1.0:
            seen = torch.tensor(sorted(self._seen))
            values = logits[seen]
            penalty = params.repetition_penalty
            logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
        if self._said and (params.presence_penalty or params.frequency_penalty):
            said = torch.tensor(list(self._said))
            counts = torch.tensor(list(self._said.values()), dtype=logits.dtype)
            logits[said] -= params.presence_penalty + params.frequency_penalty * counts
        for token_id, bias in params.logit_bias.items():
            logits[token_id] += bias
        if self._num_said < params.min_tokens:
            logits[sorted(params.stop_token_ids)] = -torch.inf

    def _draw(self, logits: Float[Tensor, " V"]) -> int:
        probabilities = (logits / self.params.temperature).softmax(-1)
        point = self._generator.random()
        params = self.params
        if params.top_k is None and params.top_p == 1.0 and params.min_p == 0.0:
            return _at(probabilities, point)
        kept, token_ids = probabilities.topk(min(params.top_k or _CANDIDATES, len(probabilities)))
        if params.top_k is None and not self._is_enough(kept):
            kept, token_ids = probabilities.sort(descending=True, stable=True)
        before = kept.cumsum(0) - kept
        total = float(kept.sum()) if params.top_k is not None else 1.0
        cut = (before >= params.top_p * total) | (kept < params.min_p * kept[0])
        return int(token_ids[_at(kept.masked_fill(cut, 0.0), point)])

    def _is_enough(self, kept: Tensor) -> bool:
        """Return whether everything that may be drawn is among the candidates."""
        reaches = float(kept.sum()) >= self.params.top_p
        return reaches or float(kept[-1]) < self.params.min_p * float(kept[0])


def choose_all(
    logits: Float[Tensor, "N V"], choosers: Sequence[TokenChooser]
) -> list[Choice | DescantError]:
    """Return every generation's next token; the greedy ones are found in one pass.

    A constraint that turns out to be too costly gives its error, for that generation alone.
    """
    # NumPy's search is vectorized: torch's takes 2 ms for 32 rows.
    likeliest = logits.numpy().argmax(-1).tolist()
    return [
        Choice(token_id) if chooser.is_plain else _choice_or_error(chooser, row)
        for token_id, chooser, row in zip(likeliest, choosers, logits, strict=True)
    ]


def _choice_or_error(chooser: TokenChooser, logits: Float[Tensor, " V"]) -> Choice | DescantError:
    try:
        return chooser.choose(logits)
    except DescantError as error:
        return error


def _at(weights: Float[Tensor, " N"], point: float) -> int:
    """Return the place at which `point`, in [0, 1), of the cumulated weights lies."""
    cumulated = weights.double().cumsum(0)
    place = int(torch.searchsorted(cumulated, point * cumulated[-1], right=True))
    # Rounding may carry the point past the last place that has any weight.
    return min(place, int(weights.nonzero()[-1]))


def _allowed(constraint: Constraint, num_tokens: int) -> Bool[Tensor, " V"]:
    bitmask = np.zeros(-(-num_tokens // 32), dtype=np.int32)
    constraint.fill_mask(bitmask)
    bits = np.unpackbits(bitmask.view(np.uint8), bitorder="little")
    return torch.from_numpy(bits[:num_tokens].astype(np.bool_))
