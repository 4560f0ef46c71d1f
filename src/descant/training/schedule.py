"""Which conversations each step sees, and how large its step is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def learning_rate_factor(step: int, num_steps: int, warmup_share: float) -> float:
    """Return the part of the full learning rate at a step: a linear rise, then a cosine to 0."""
    warmup = max(1, round(num_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, epochs: int, seed: int
) -> list[list[int]]:
    """Return every epoch's batches of indices, each epoch in an order of its own.

    Conversations of similar length share a batch, so that little is padded; which ones, and the
    order of the batches, is random but follows from the seed alone.
    """
    generator = random.Random(seed)
    batches: list[list[int]] = []
    for _ in range(epochs):
        jittered = {i: length * generator.uniform(0.8, 1.2) for i, length in enumerate(lengths)}
        order = sorted(jittered, key=jittered.__getitem__)
        epoch = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        generator.shuffle(epoch)
        batches += epoch
    return batches
