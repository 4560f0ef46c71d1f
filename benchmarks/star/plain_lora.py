"""Plain LoRA on the same rows: active from token 0, so every conversation is read with gradient.

What sharing one reading is compared with. Same matrices, objective, schedule and batches as one-pass
training; the whole conversation goes through the model once for each adapter, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from descant.data import Example
from descant.model import (
    DenseCausal,
    LoadedModel,
    LoraAdapter,
    LoraPair,
    content_hash,
    save_adapter,
)
from descant.training import Hyperparameters, Question
from descant.training.adapter_stack import ActiveAdapters, AdapterStack
from descant.training.objective import TailBatch, build_tails, label_losses, label_weights
from descant.training.schedule import learning_rate_factor, plan_batches


def train_plain_lora(
    base: LoadedModel,
    question: Question,
    examples: Sequence[Example],
    settings: Hyperparameters,
    folder: Path,
    on_step: Callable[[int, int, float], None],
) -> None:
    """Train one plain LoRA on the examples that have a label, and write its folder."""
    rows = [example for example in examples if question.name in example.targets]
    stack = AdapterStack(base.config, settings, [settings.seed], base.model.device)
    optimizer = torch.optim.AdamW(
        stack.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    weights = {
        question.name: label_weights(
            [row.targets for row in rows], question, settings.class_weight_power
        )
    }
    batches = plan_batches([{0} for _ in rows], settings)
    for step, batch in enumerate(batches):
        active = stack.activate([0], base.model.dtype)
        chosen = [rows[i] for i in batch.conversations]
        tails = build_tails([question], chosen, weights)
        hidden = _hidden(base, active, chosen, tails)
        loss = label_losses(base.model, hidden, tails, [question]).sum()
        loss.backward()
        stack.take_gradients([0], active, settings.max_gradient_norm)
        factor = learning_rate_factor(step, len(batches), settings.warmup_share)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        optimizer.step()
        on_step(step + 1, len(batches), loss.item())
    _save(base, stack, question, folder)


def _hidden(
    base: LoadedModel, active: ActiveAdapters, rows: Sequence[Example], tails: TailBatch
) -> torch.Tensor:
    """Return what the model makes of the tails, [1, C, S, E], each behind its conversation."""
    num_tail = tails.token_ids.shape[2]
    sequences = [
        [*row.prefix_ids, *tail_ids.tolist()]
        for row, tail_ids in zip(rows, tails.token_ids[0], strict=True)
    ]
    lengths = [len(sequence) for sequence in sequences]
    token_ids = torch.tensor([token for sequence in sequences for token in sequence])
    positions = torch.cat([torch.arange(length) for length in lengths])
    hidden = base.model(token_ids, positions, DenseCausal(lengths), active)
    ends = torch.tensor(lengths).cumsum(0)
    places = ends[:, None] - num_tail + torch.arange(num_tail)
    return hidden[places][None]


def _save(base: LoadedModel, stack: AdapterStack, question: Question, folder: Path) -> None:
    dtype = base.model.dtype
    pairs = {
        place: LoraPair(pair.a.to(dtype), pair.b.to(dtype), pair.scaling)
        for place, pair in stack.pairs(0).items()
    }
    identity = content_hash(pairs, None)
    adapter = LoraAdapter(question.name, identity, base.base_hash, "start", None, 0, pairs)
    save_adapter(folder / question.name, adapter)
