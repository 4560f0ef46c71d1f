"""Which conversations each step sees, which questions learn from them, and how large the step is."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from descant.training.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Batch:
    """One step."""

    conversations: tuple[int, ...]
    questions: tuple[int, ...]
    """Those that learn from it, ascending; each has a label in one of the conversations."""
    epoch: int = 0


def learning_rate_factor(step: int, num_steps: int, warmup_share: float) -> float:
    """Return the part of the full learning rate at a step: a linear rise, then a cosine to 0."""
    warmup = max(1, round(num_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def plan_batches(labelled: Sequence[AbstractSet[int]], settings: Hyperparameters) -> list[Batch]:
    """Return the batches of a whole run; `labelled` holds each conversation's labelled questions.

    Every epoch visits every conversation. Conversations that carry labels of a rarely labelled
    question stand together, so that its batches are full and the others go without its tails. A
    question that gets less than `min_steps` in these epochs is visited more often, in batches of
    its own conversations. Order and batches follow from the seed alone.
    """
    generator = random.Random(settings.seed)
    extra = _extra_rounds(labelled, settings)
    batches: list[Batch] = []
    for epoch in range(settings.epochs):
        visited = _grouped(labelled, settings.batch_conversations, generator)
        for extra_round in range(epoch, max(extra.values(), default=0), settings.epochs):
            wanted = {question for question, rounds in extra.items() if rounds > extra_round}
            own = [labels & wanted for labels in labelled]
            visited += _grouped(own, settings.batch_conversations, generator)
        generator.shuffle(visited)
        batches += [replace(batch, epoch=epoch) for batch in visited]
    return batches


def _extra_rounds(
    labelled: Sequence[AbstractSet[int]], settings: Hyperparameters
) -> dict[int, int]:
    """Return how often more than `epochs` a question's conversations are visited."""
    rounds = {}
    for question, count in Counter(q for labels in labelled for q in labels).items():
        steps = math.ceil(count / settings.batch_conversations)
        wanted = math.ceil(settings.min_steps / steps)
        rounds[question] = min(wanted, _MOST_VISITS * settings.epochs) - settings.epochs
    return {question: more for question, more in rounds.items() if more > 0}


# Beyond that, the same few conversations are learned by heart.
_MOST_VISITS = 4


def _grouped(
    labelled: Sequence[AbstractSet[int]], size: int, generator: random.Random
) -> list[Batch]:
    present = [index for index, labels in enumerate(labelled) if labels]
    generator.shuffle(present)
    counts = Counter(question for labels in labelled for question in labels)
    sparse = sorted(
        (question for question, count in counts.items() if 2 * count < len(present)),
        key=lambda question: (counts[question], question),
    )
    present.sort(key=lambda index: [question not in labelled[index] for question in sparse])
    chunks = [present[start : start + size] for start in range(0, len(present), size)]
    return [
        Batch(tuple(chunk), tuple(sorted({q for index in chunk for q in labelled[index]})))
        for chunk in chunks
    ]
