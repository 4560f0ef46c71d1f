"""transformers' Trainer over the batches, the loss and the learning rate of one-pass training.

Needs the extra ``train``. Optimizer steps, clipping, checkpoints and going on from them are the
Trainer's. TRL's `SFTTrainer` is a Trainer that renders chats, builds completion masks and computes
their loss over the whole vocabulary; the renderer and the objective are ours, so nothing of it is left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.trainer_callback import PrinterCallback

from descant.data import Example
from descant.model import Transformer
from descant.schema.errors import StorageFull, TrainingDiverged
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question, TailBatch, build_tails, label_losses
from descant.training.schedule import Batch, learning_rate_factor

# Of a part, padding counted: what a model keeps for its backward pass grows with it.
_TOKENS_AT_ONCE = 4096

OnStep = Callable[[int, int, float], None]
"""Takes the number of steps done, the conversations in the last one, and its loss."""


@dataclass(frozen=True)
class Lesson:
    """What one adapter learns from."""

    question: Question
    examples: Sequence[Example]
    label_weights: Sequence[float]
    batches: Sequence[Batch]


class LabelTrainer(transformers.Trainer):  # type: ignore[misc]
    """Trains the adapter of one question.

    A batch goes through the model in parts of bounded length; its gradient is that of the whole.
    """

    def __init__(
        self,
        model: peft.PeftModel,
        base: Transformer,
        lesson: Lesson,
        settings: Hyperparameters,
        folder: Path,
        on_step: OnStep,
    ):
        """`model` is `base` under the adapter; checkpoints go to `folder`."""
        self.base = base
        self.lesson = lesson
        self.settings = settings
        self.watch = _Watch(lesson, on_step)
        self.is_activated = model.active_peft_config.alora_invocation_tokens is not None
        optimizer = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        num_steps = len(lesson.batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, num_steps, settings.warmup_share)
        )
        super().__init__(
            model=model,
            args=_arguments(model, num_steps, settings, folder),
            data_collator=_conversations,
            train_dataset=list(lesson.batches),
            optimizers=(optimizer, schedule),
            callbacks=[self.watch],
        )
        self.remove_callback(PrinterCallback)

    def learn(self) -> None:
        """Run the steps that remain behind the newest whole checkpoint.

        Raises:
            TrainingDiverged: a loss or a gradient is not a number; names the conversations.
            StorageFull: a checkpoint could not be written; the one before is intact.
        """
        newest = newest_checkpoint(Path(self.args.output_dir))
        self.train(resume_from_checkpoint=None if newest is None else str(newest))

    def training_step(
        self, model: Any, inputs: Mapping[str, Sequence[int]], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add the gradient of the batch's mean loss and return that loss."""
        model.train()
        conversations, losses = inputs["conversations"], []
        for part in self._parts(conversations):
            loss = self.part_loss(model, part) * (len(part) / len(conversations))
            self.accelerator.backward(loss)
            losses.append(loss.detach())
        total = torch.stack(losses).sum()
        if not torch.isfinite(total):
            raise _diverged(self.lesson, conversations, self.state.global_step)
        self.watch.loss = total.item()
        return total

    def part_loss(self, model: Any, conversations: Sequence[int]) -> Float[Tensor, ""]:
        """Return the mean loss of conversations, as `descant.training.objective` defines it."""
        question, device = self.lesson.question, self.args.device
        examples = [self.lesson.examples[index] for index in conversations]
        tails = build_tails([question], examples, {question.name: self.lesson.label_weights})
        num_tail = tails.token_ids.shape[2]
        # PEFT counts from the end; left to itself it looks for the invocation in every row.
        more = {"alora_offsets": [num_tail] * len(examples)} if self.is_activated else {}
        is_half = self.base.dtype == torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            hidden = model(
                **_padded([example.prefix_ids for example in examples], tails, device),
                logits_to_keep=num_tail,
                use_cache=False,
                **more,
            ).logits
        hidden = hidden[None].to(self.base.device, self.base.dtype)
        temperature, smoothing = (
            self.settings.distillation_temperature,
            self.settings.label_smoothing,
        )
        return label_losses(self.base, hidden, tails, [question], temperature, smoothing).sum()

    def _parts(self, conversations: Sequence[int]) -> Iterator[list[int]]:
        """Yield the conversations, as many at once as bounded memory takes, like by like."""

        def length(index: int) -> int:
            return len(self.lesson.examples[index].prefix_ids)

        part: list[int] = []
        for index in sorted(conversations, key=length):
            if part and (len(part) + 1) * length(index) > _TOKENS_AT_ONCE:
                yield part
                part = []
            part.append(index)
        yield part

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: nobody reads it, and it would be guessed from keys that a batch does not have."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        # What a full disk is called depends on the library that writes.
        except (OSError, RuntimeError, SafetensorError) as error:
            raise StorageFull(
                f"A checkpoint could not be written to {self.args.output_dir}: {error}.",
                remedy="Free some space and go on with --resume; the checkpoint before is intact.",
            ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the Trainer's last whole checkpoint; its state is written behind everything else."""
    whole = [
        path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_whole(path)
    ]
    return max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def _is_whole(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return False


class _Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Reports every step, and stops before one whose gradient is not a number."""

    def __init__(self, lesson: Lesson, on_step: OnStep):
        self.lesson = lesson
        self.on_step = on_step
        self.loss = math.nan
        """Of the step under way."""

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            batch = self.lesson.batches[state.global_step]
            raise _diverged(self.lesson, batch.conversations, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        batch = self.lesson.batches[state.global_step - 1]
        self.on_step(state.global_step, len(batch.conversations), self.loss)


def _diverged(lesson: Lesson, conversations: Sequence[int], step: int) -> TrainingDiverged:
    rows = ", ".join(lesson.examples[index].transcript_id for index in conversations)
    return TrainingDiverged(
        f"The loss or gradient of {lesson.question.name!r} is not a number at step {step} "
        f"(conversations {rows}).",
        field=lesson.question.name,
        remedy="The last checkpoint is kept; lower learning_rate.",
    )


def _padded(
    prefixes: Sequence[Sequence[int]], tails: TailBatch, device: torch.device
) -> dict[str, Tensor]:
    """Return what transformers reads: padded in front, so that all tails stand at the end."""
    rows = [
        torch.tensor([*prefix, *tail_ids.tolist()])
        for prefix, tail_ids in zip(prefixes, tails.token_ids[0], strict=True)
    ]
    token_ids = pad_sequence(rows, batch_first=True, padding_side="left")
    width = token_ids.shape[1]
    num_padding = torch.tensor([[width - len(row)] for row in rows])
    places = torch.arange(width) - num_padding
    return {
        "input_ids": token_ids.to(device),
        "attention_mask": (places >= 0).long().to(device),
        "position_ids": places.clamp(min=0).to(device),
    }


def _conversations(batches: list[Batch]) -> dict[str, tuple[int, ...]]:
    """Return what `training_step` takes; the Trainer's batches have one item, a batch of ours."""
    [batch] = batches
    return {"conversations": batch.conversations}


def _arguments(
    model: peft.PeftModel, num_steps: int, settings: Hyperparameters, folder: Path
) -> transformers.TrainingArguments:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        max_steps=num_steps,
        max_grad_norm=settings.max_gradient_norm,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=model.device.type == "cpu",
        seed=settings.seed,
    )
    # Several GPUs would each get a copy of the model for a batch that has one item.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
