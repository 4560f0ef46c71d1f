"""One-pass training: every conversation is read once, and all adapters learn from that reading.

The conversation goes through the frozen base model without gradient. Behind it stand the tails of
all questions, in one batch, each under its own adapter and with gradient into that adapter only. So
A adapters cost one reading and A short tails, not A readings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.data import Example
from descant.model import LoraAdapter, Transformer, choose_kernel
from descant.schema.errors import InvalidConfig, TrainingDiverged
from descant.training.adapter_stack import ActiveAdapters, AdapterStack
from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import (
    Question,
    TailBatch,
    build_tails,
    check_soft_labels,
    label_losses,
    weights_by_question,
)
from descant.training.readings import LiveReadings, Reading, ReadingStore
from descant.training.schedule import Batch, learning_rate_factor, plan_batches
from descant.training.selection import Selection
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
    losses: Mapping[str, float]
    """Of the last step, by question; only those that learned from it."""

    @property
    def mean_loss(self) -> float | None:
        """Over the questions; None when none learned any more."""
        return fmean(self.losses.values()) if self.losses else None

    @property
    def remaining_s(self) -> float:
        """Estimated from the steps this process has done."""
        done = max(self.steps_here, 1)
        return self.elapsed_s / done * (self.num_steps - self.step)

    steps_here: int = 0


class OnePassTrainer:
    """Trains one adapter per question over the same conversations.

    Raises:
        InvalidConfig: the model is quantized.
        InvalidData: there is nothing to learn from, or soft labels cannot be learned; names the
            question.
    """

    def __init__(
        self,
        model: Transformer,
        questions: Sequence[Question],
        examples: Sequence[Example],
        settings: Hyperparameters,
        dev: Sequence[Example] = (),
        reader: LoraAdapter | None = None,
        rates: Mapping[str, float] | None = None,
    ):
        """Prepare adapters and optimizer; nothing is read yet.

        By the loss on `dev`, behind every epoch, the best state of each adapter is kept. A frozen
        `reader` reads the conversations; without one, the base model alone. `rates` are learning
        rates of questions that have one of their own.
        """
        refuse_quantized(model)
        check_soft_labels(questions, [*examples, *dev])
        self.model = model
        self.questions = list(questions)
        self.examples = sorted(examples, key=lambda example: example.transcript_id)
        self.settings = settings
        self.kernel = choose_kernel(model.device, model.dtype)
        self.readings: ReadingStore | LiveReadings = ReadingStore(
            model, self.kernel, settings.reading_cache_bytes, reader
        )
        seeds = [adapter_seed(settings.seed, question.name) for question in questions]
        self.stack = AdapterStack(model.config, settings, seeds, model.device)
        # One group an adapter: each has a learning rate of its own, and those that take no part in
        # a step are left alone by it.
        self.optimizer = torch.optim.AdamW(
            [{"params": [row]} for row in self.stack.rows],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.selection = Selection(settings.patience_epochs, model.dtype)
        self.step = 0
        self._rates = [
            (rates or {}).get(question.name, settings.learning_rate) for question in questions
        ]
        self._weights = weights_by_question(
            self.questions,
            [example.targets for example in self.examples],
            settings.class_weight_power,
        )
        self.dev = list(dev)
        self._all = [*self.examples, *self.dev]
        self._prefixes = [example.prefix_ids for example in self._all]
        self.batches = plan_batches(self._labelled(), settings)

    @property
    def trained(self) -> nn.Module:
        """What a checkpoint holds."""
        return self.stack

    @property
    def rows(self) -> list[Tensor]:
        """The parameters of each adapter."""
        return list(self.stack.rows)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return len(self.batches)

    @cached_property
    def _num_steps_of(self) -> Counter[int]:
        return Counter(index for batch in self.batches for index in batch.questions)

    @property
    def remaining_batches(self) -> Sequence[Batch]:
        """The batches still to be learned from."""
        return self.batches[self.step :]

    def train(
        self,
        checkpoint: Checkpoint,
        clock: Callable[[], float],
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> dict[str, float]:
        """Run the remaining steps and return each question's mean loss over the last epoch.

        Nothing is returned when no step remained. An interrupt saves the state before it goes on.
        With conversations to judge by, each adapter ends as it was when it was best.

        Raises:
            TrainingDiverged: a loss is not a number; names the question and the conversations.
        """
        started, first_step, num_conversations = clock(), self.step, 0
        recent = self._last_epochs()
        try:
            for batch in self.remaining_batches:
                losses = self._learn(batch)
                num_conversations += len(batch.conversations)
                for name, loss in losses.items():
                    recent[name].append(loss)
                on_progress(
                    Progress(
                        self.step,
                        self.num_steps,
                        num_conversations,
                        clock() - started,
                        losses,
                        self.step - first_step,
                    )
                )
                if self.step % self.settings.checkpoint_steps == 0 and self.step < self.num_steps:
                    checkpoint.save(self.step, self.trained, self.optimizer, self.selection)
        except KeyboardInterrupt:
            checkpoint.save(self.step, self.trained, self.optimizer, self.selection)
            raise
        self._judge(self.settings.epochs)
        self.selection.restore(self.rows)
        return {name: fmean(losses) for name, losses in recent.items() if losses}

    def rate_of(self, index: int) -> float:
        """Return the full learning rate of one adapter."""
        return self._rates[index]

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where a run with the same fingerprint was stopped."""
        self.step = checkpoint.load(self.trained, self.optimizer, self.selection)

    def _learn(self, batch: Batch) -> dict[str, float]:
        """Take a step with those of its questions that still learn."""
        self._judge(batch.epoch)
        questions = self.selection.learning(batch.questions)
        if questions:
            return self.train_step(replace(batch, questions=questions))
        self.step += 1
        return {}

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; return the loss of each of its questions before the step.

        Raises:
            TrainingDiverged: a loss or a gradient is not a number; the adapters are as before.
        """
        active = self.stack.activate(batch.questions, self.model.dtype)
        losses = torch.zeros(len(batch.questions), device=self.model.device)
        counts = self._num_labels(batch.conversations, batch.questions)
        for part in _parts(batch.conversations, self.settings.conversations_at_once):
            share = self._num_labels(part, batch.questions) / counts
            own = self._losses(part, batch.questions, active) * share
            self._check_finite(own, batch)
            own.sum().backward()
            self.readings.backward()
            losses += own.detach()
        self._check_finite(self._take_gradients(batch, active), batch)
        self._set_learning_rates(batch)
        self.optimizer.step()
        self.step += 1
        names = (self.questions[index].name for index in batch.questions)
        return dict(zip(names, losses.tolist(), strict=True))

    def _take_gradients(self, batch: Batch, active: ActiveAdapters) -> Float[Tensor, " N"]:
        return self.stack.take_gradients(batch.questions, active, self.settings.max_gradient_norm)

    def _losses(
        self, conversations: Sequence[int], questions: Sequence[int], active: ActiveAdapters
    ) -> Float[Tensor, " A"]:
        """Return each question's mean loss over its labels in some conversations."""
        asked = [self.questions[index] for index in questions]
        readings = self.readings.get(conversations, self._prefixes)
        examples = [self._all[index] for index in conversations]
        tails = build_tails(asked, examples, self._weights)
        hidden, settings = self.forward(tails, readings, active), self.settings
        temperature, smoothing = settings.distillation_temperature, settings.label_smoothing
        return label_losses(self.model, hidden, tails, asked, temperature, smoothing)

    def _num_labels(
        self, conversations: Sequence[int], questions: Sequence[int]
    ) -> Float[Tensor, " A"]:
        names = [self.questions[index].name for index in questions]
        targets = [self._all[index].targets for index in conversations]
        counts = [float(sum(name in labels for labels in targets)) for name in names]
        return torch.tensor(counts, device=self.model.device)

    def _judge(self, epoch: int) -> None:
        """Judge what is still learning, unless that was done behind as many epochs."""
        is_due = bool(self.dev) and self.selection.num_rounds < epoch
        if is_due and self.selection.learning(range(len(self.questions))):
            self.selection.record(self.dev_losses(), self.rows)

    @torch.no_grad()
    def dev_losses(self) -> dict[int, float]:
        """Return the loss of every question that still learns on the conversations to judge by."""
        learning = self.selection.learning(range(len(self.questions)))
        first = len(self.examples)
        held_out = range(first, first + len(self.dev))
        sums = torch.zeros(len(learning), device=self.model.device)
        active = self.stack.activate(learning, self.model.dtype)
        for part in _parts(held_out, self.settings.conversations_at_once):
            sums += self._losses(part, learning, active) * self._num_labels(part, learning)
        counts = self._num_labels(held_out, learning)
        means = (sums / counts.clamp(min=1)).tolist()
        return {
            index: mean
            for index, mean, count in zip(learning, means, counts.tolist(), strict=True)
            if count
        }

    def forward(
        self, tails: TailBatch, readings: Sequence[Reading], adapters: ActiveAdapters
    ) -> Float[Tensor, "A C S E"]:
        """Return the hidden states of all tails behind their readings."""
        shape = tails.token_ids.shape
        lengths = torch.tensor([reading.num_tokens for reading in readings])
        positions = (lengths[None, :, None] + torch.arange(shape[2])).expand(shape)
        attend = _TailAttend(shape, readings, self.kernel)
        device = self.model.device
        hidden: Tensor = self.model(
            tails.token_ids.flatten().to(device), positions.flatten().to(device), attend, adapters
        )
        return hidden.view(*shape, -1)

    def _set_learning_rates(self, batch: Batch) -> None:
        """Each adapter's rate rises and falls over its own steps, whatever the others do."""
        for index in batch.questions:
            done = int(self.optimizer.state[self.stack.rows[index]].get("step", 0))
            factor = learning_rate_factor(
                done, self._num_steps_of[index], self.settings.warmup_share
            )
            self.optimizer.param_groups[index]["lr"] = self._rates[index] * factor

    def _last_epochs(self) -> dict[str, deque[float]]:
        """Return, by question, room for the losses of one epoch."""
        return {
            question.name: deque(maxlen=max(1, self._num_steps_of[index] // self.settings.epochs))
            for index, question in enumerate(self.questions)
        }

    def _labelled(self) -> list[set[int]]:
        rows = {question.name: row for row, question in enumerate(self.questions)}
        return [
            {rows[name] for name in example.targets if name in rows} for example in self.examples
        ]

    def _check_finite(self, per_question: Tensor, batch: Batch) -> None:
        if torch.isfinite(per_question).all():
            return
        first = int((~torch.isfinite(per_question)).int().argmax())
        worst = self.questions[batch.questions[first]].name
        rows = ", ".join(self.examples[index].transcript_id for index in batch.conversations)
        raise TrainingDiverged(
            f"The loss or gradient of {worst!r} is not a number at step {self.step} (conversations {rows}).",
            field=worst,
            remedy="The state before this step is kept; lower learning_rate.",
        )


def _parts(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


class _TailAttend:
    """Gives each layer's tails their readings."""

    def __init__(self, shape: torch.Size, readings: Sequence[Reading], kernel: object):
        self.shape = shape
        self.readings = readings
        self.kernel = kernel

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (x.reshape(*self.shape, *x.shape[1:]) for x in (q, k, v))
        readings = [reading.layers[layer] for reading in self.readings]
        out: Tensor = TailAttention.apply(*heads, readings, self.kernel)  # type: ignore[no-untyped-call]
        return out.view(q.shape)


def refuse_quantized(model: Transformer) -> None:
    """Raise if the model gives no gradient.

    Raises:
        InvalidConfig: its weights are in int8.
    """
    if model.quantization is not None:
        raise InvalidConfig(
            f"A model quantized to {model.quantization} gives no gradient.",
            field="quantization",
            remedy="Train without quantization; the adapters then run on a quantized model.",
        )


def fingerprint(
    base_hash: str, data_hash: str, settings: Hyperparameters, questions: Sequence[Question]
) -> str:
    """Return what a checkpoint must have in common with the run that resumes it."""
    asked = [[q.name, list(q.tail_ids), [list(label) for label in q.labels]] for q in questions]
    stated = {**settings.to_json(), "checkpoint_steps": None, "reading_cache_bytes": None}
    content = json.dumps([base_hash, data_hash, stated, asked], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def adapter_seed(seed: int, name: str) -> int:
    """Return the seed of one adapter's first values, whichever others are trained beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7])
