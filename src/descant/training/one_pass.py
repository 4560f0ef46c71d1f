"""One-pass training: every conversation is read once, and all adapters learn from that reading.

The conversation goes through the frozen base model without gradient. Behind it stand the tails of
all questions, in one batch, each under its own adapter and with gradient into that adapter only. So
A adapters cost one reading and A short tails, not A readings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.data import Example
from descant.model import Transformer, choose_kernel
from descant.schema.errors import InvalidData, TrainingDiverged
from descant.training.adapter_stack import AdapterStack, StackedLora
from descant.training.checkpoint import Checkpoint
from descant.training.objective import (
    Question,
    TailBatch,
    build_tails,
    label_losses,
    label_weights,
)
from descant.training.readings import Reading, ReadingStore, pad_readings
from descant.training.recipe import Recipe
from descant.training.schedule import learning_rate_factor, shuffled_batches
from descant.training.tail_attention import TailAttention


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    num_steps: int
    num_conversations: int
    """Conversations trained on so far in this process, repeats counted."""
    elapsed_s: float
    """Since this process began to train."""
    losses: tuple[float, ...]
    """One per question, of the last step."""

    @property
    def remaining_s(self) -> float:
        """Estimated from the steps this process has done."""
        done = max(self.steps_here, 1)
        return self.elapsed_s / done * (self.num_steps - self.step)

    steps_here: int = 0


class OnePassTrainer:
    """Trains one adapter per question over the same conversations.

    Raises:
        InvalidData: there is nothing to learn from; names the question.
    """

    def __init__(
        self,
        model: Transformer,
        questions: Sequence[Question],
        examples: Sequence[Example],
        recipe: Recipe,
    ):
        """Prepare adapters and optimizer; nothing is read yet."""
        self.model = model
        self.questions = list(questions)
        self.examples = sorted(examples, key=lambda example: example.transcript_id)
        self.recipe = recipe
        self.kernel = choose_kernel(model.device, model.dtype)
        self.readings = ReadingStore(model, self.kernel, recipe.reading_cache_bytes)
        seeds = [_seed(recipe.seed, question.name) for question in questions]
        self.stack = AdapterStack(model.config, recipe, seeds, model.device)
        self.optimizer = torch.optim.AdamW(
            self.stack.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step = 0
        self._weights = self._label_weights()
        self._prefixes = [example.prefix_ids for example in self.examples]

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        per_epoch = -(-len(self.examples) // self.recipe.batch_conversations)
        return per_epoch * self.recipe.epochs

    def train(
        self,
        checkpoint: Checkpoint,
        clock: Callable[[], float],
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> dict[str, float]:
        """Run the remaining steps and return each question's mean loss over the last epoch.

        Nothing is returned when no step remained. An interrupt saves the state before it goes on.

        Raises:
            TrainingDiverged: a loss is not a number; names the question and the conversations.
        """
        started, first_step, num_conversations = clock(), self.step, 0
        history: list[Tensor] = []
        try:
            for indices in self.remaining_batches():
                losses = self.train_step(indices)
                num_conversations += len(indices)
                history.append(losses)
                on_progress(
                    Progress(
                        self.step,
                        self.num_steps,
                        num_conversations,
                        clock() - started,
                        tuple(losses.tolist()),
                        self.step - first_step,
                    )
                )
                if self.step % self.recipe.checkpoint_steps == 0 and self.step < self.num_steps:
                    checkpoint.save(self.step, self.stack, self.optimizer)
        except KeyboardInterrupt:
            checkpoint.save(self.step, self.stack, self.optimizer)
            raise
        if not history:
            return {}
        means = torch.stack(history[-(self.num_steps // self.recipe.epochs) :]).mean(0).tolist()
        return dict(zip((question.name for question in self.questions), means, strict=True))

    def train_step(self, indices: Sequence[int]) -> Float[Tensor, " A"]:
        """Learn from the conversations at `indices`; return each question's loss before the step.

        Raises:
            TrainingDiverged: a loss or a gradient is not a number; the adapters are as before.
        """
        readings = self.readings.get(indices, self._prefixes)
        targets = [self.examples[index].targets for index in indices]
        tails = build_tails(self.questions, targets, self._weights)
        hidden = self.forward(tails, readings)
        losses = label_losses(self.model, hidden, tails, self.questions)
        self._check_finite(losses, indices)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        norms = self.stack.clip_gradients(self.recipe.max_gradient_norm)
        self._check_finite(norms, indices)
        factor = learning_rate_factor(self.step, self.num_steps, self.recipe.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
        self.optimizer.step()
        self.step += 1
        return losses.detach()

    def forward(self, tails: TailBatch, readings: Sequence[Reading]) -> Float[Tensor, "A C S E"]:
        """Return the hidden states of all tails behind their readings."""
        shape = tails.token_ids.shape
        lengths = torch.tensor([reading.num_tokens for reading in readings])
        positions = (lengths[None, :, None] + torch.arange(shape[2])).expand(shape)
        attend = _TailAttend(shape, readings, self.kernel)
        device = self.model.device
        hidden: Tensor = self.model(
            tails.token_ids.flatten().to(device),
            positions.flatten().to(device),
            attend,
            StackedLora(self.stack),
        )
        return hidden.view(*shape, -1)

    def remaining_batches(self) -> Iterator[list[int]]:
        """Yield the conversations of each step that is still to be done, as indices."""
        lengths = [len(prefix) for prefix in self._prefixes]
        batches = shuffled_batches(
            lengths, self.recipe.batch_conversations, self.recipe.epochs, self.recipe.seed
        )
        yield from batches[self.step :]

    def _label_weights(self) -> dict[str, list[float]]:
        targets = [example.targets for example in self.examples]
        for question in self.questions:
            if not any(question.name in labels for labels in targets):
                raise InvalidData(
                    f"No conversation has a label for {question.name!r}.",
                    field=question.name,
                    remedy="Label some conversations, or leave the indicator out.",
                )
        power = self.recipe.class_weight_power
        return {q.name: label_weights(targets, q, power) for q in self.questions}

    def _check_finite(self, per_question: Tensor, indices: Sequence[int]) -> None:
        if torch.isfinite(per_question).all():
            return
        worst = self.questions[int((~torch.isfinite(per_question)).int().argmax())].name
        rows = ", ".join(self.examples[index].transcript_id for index in indices)
        raise TrainingDiverged(
            f"The loss or gradient of {worst!r} is not a number at step {self.step} (conversations {rows}).",
            field=worst,
            remedy="The state before this step is kept; lower learning_rate.",
        )


class _TailAttend:
    """Gives each layer's tails their readings."""

    def __init__(self, shape: torch.Size, readings: Sequence[Reading], kernel: object):
        self.shape = shape
        self.readings = readings
        self.kernel = kernel

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (x.reshape(*self.shape, *x.shape[1:]) for x in (q, k, v))
        reading = pad_readings(self.readings, layer)
        out: Tensor = TailAttention.apply(*heads, reading, self.kernel)  # type: ignore[no-untyped-call]
        return out.view(q.shape)


def fingerprint(
    base_hash: str, data_hash: str, recipe: Recipe, questions: Sequence[Question]
) -> str:
    """Return what a checkpoint must have in common with the run that resumes it."""
    asked = [[q.name, list(q.tail_ids), [list(label) for label in q.labels]] for q in questions]
    settings = {**recipe.to_json(), "checkpoint_steps": None, "reading_cache_bytes": None}
    content = json.dumps([base_hash, data_hash, settings, asked], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7])
