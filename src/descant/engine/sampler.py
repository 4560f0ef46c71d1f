"""Chooses the next token from logits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from descant.engine.sequence import SamplingParams


def sample(
    logits: Float[Tensor, " V"], params: SamplingParams, generator: torch.Generator | None
) -> int:
    """Return the next token id; greedy at temperature 0, ties to the lowest id.

    Semantics:
        p = softmax(logits / temperature), cut to the `top_k` likeliest and then to the smallest
        set that holds `top_p` of the mass, renormalised
    """
    if params.temperature == 0.0:
        return int(logits.argmax())
    ordered, token_ids = (logits / params.temperature).sort(descending=True, stable=True)
    if params.top_k is not None:
        ordered = ordered[: params.top_k]
    probabilities = ordered.softmax(0)
    before = probabilities.cumsum(0) - probabilities
    probabilities = probabilities.masked_fill(before >= params.top_p, 0.0)
    choice = torch.multinomial(probabilities, 1, generator=generator)
    return int(token_ids[choice])
