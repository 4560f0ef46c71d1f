"""What a one-pass run will take, before it runs: tokens by arithmetic, memory and time.

Memory is counted from shapes; what a step keeps for its way back, what Python itself takes, and time
are measured on a few batches of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from descant.model import ModelConfig
from descant.schema.errors import OverBudget
from descant.training.hyperparameters import Hyperparameters
from descant.training.lessons import Lessons
from descant.training.one_pass import OnePassTrainer
from descant.training.recipe import Budget
from descant.training.rehearsal import Rehearsal, rehearse
from descant.training.workload import RunShape, Workload, plan_workload

# A parameter and its gradient in float32, two of AdamW's moments, and both once more in bfloat16
# while a step is under way.
_BYTES_PER_PARAMETER = 4 * 4 + 2 * 2


@dataclass(frozen=True)
class MemoryEstimate:
    """The most that a run holds at once, in bytes."""

    weights_bytes: int
    adapters_bytes: int
    """With gradients and the optimizer's state."""
    readings_bytes: int
    """Kept over epochs."""
    step_bytes: int
    """The largest step, or the largest batch while it is read."""
    other_bytes: int
    """Python, its libraries, and gaps; 0 where the system does not say."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class RunEstimate:
    """What a run will take."""

    workload: Workload
    memory: MemoryEstimate
    rehearsal: Rehearsal

    @property
    def time_s(self) -> float:
        """Of training; loading, checkpoints and writing adapters apart."""
        return self.rehearsal.time_s(self.workload)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "tokens": self.workload.to_json(),
            "memory": {**asdict(self.memory), "total_bytes": self.memory.total_bytes},
            "time_s": self.time_s,
            "rehearsal": asdict(self.rehearsal),
        }


def estimate_run(lessons: Lessons, clock: Callable[[], float], limit_s: float = 4.0) -> RunEstimate:
    """Plan a run and rehearse a little of it; nothing is written.

    A search of learning rates and the judging behind each epoch are not in it.
    """
    trainer = OnePassTrainer(
        lessons.base.model, lessons.questions, lessons.examples, lessons.settings
    )
    shape = run_shape(trainer)
    workload = plan_workload(shape)
    rehearsal = rehearse(trainer, shape, clock, limit_s)
    memory = _memory(trainer, shape, workload, rehearsal)
    return RunEstimate(workload, memory, rehearsal)


def check_budget(estimate: RunEstimate, budget: Budget) -> None:
    """Refuse a run that would cost more than it may.

    Raises:
        OverBudget: says what it would take and what it may.
    """
    over = []
    if budget.time_s is not None and estimate.time_s > budget.time_s:
        over.append(f"time: about {estimate.time_s:,.0f} s of {budget.time_s:,.0f} s")
    total = estimate.memory.total_bytes
    if budget.memory_bytes is not None and total > budget.memory_bytes:
        over.append(f"memory: about {total / 1e9:,.2f} GB of {budget.memory_bytes / 1e9:,.2f} GB")
    if over:
        raise OverBudget(
            f"The run is over its budget; {' and '.join(over)}.",
            field="budget",
            remedy="Train fewer epochs, conversations or adapters, keep fewer readings "
            "(reading_cache_bytes), or raise the budget. Nothing was begun.",
        )


def _memory(
    trainer: OnePassTrainer, shape: RunShape, workload: Workload, rehearsal: Rehearsal
) -> MemoryEstimate:
    config, itemsize = trainer.model.config, trainer.model.dtype.itemsize
    most_read = max(
        sum(shape.conversation_tokens[index] for index in batch.conversations)
        for batch in shape.batches
    )
    num_parameters = len(trainer.questions) * _num_parameters(config, trainer.settings)
    memory = MemoryEstimate(
        weights_bytes=sum(tensor.nbytes for tensor in trainer.model.parameters()),
        adapters_bytes=num_parameters * _BYTES_PER_PARAMETER,
        readings_bytes=workload.readings_bytes,
        step_bytes=max(rehearsal.step_bytes, most_read * _bytes_while_reading(config, itemsize)),
        other_bytes=0,
    )
    if rehearsal.resident_bytes is None or trainer.model.device.type != "cpu":
        return memory
    accounted = replace(memory, readings_bytes=rehearsal.readings_bytes).total_bytes
    return replace(memory, other_bytes=max(0, rehearsal.resident_bytes - accounted))


def run_shape(trainer: OnePassTrainer) -> RunShape:
    """Return the sizes of what this trainer would do."""
    place = {question.name: index for index, question in enumerate(trainer.questions)}
    config, itemsize = trainer.model.config, trainer.model.dtype.itemsize
    return RunShape(
        batches=trainer.batches,
        conversation_tokens=[len(example.prefix_ids) for example in trainer.examples],
        labelled=[{place[name] for name in example.targets} for example in trainer.examples],
        question_tokens=[
            len(question.tail_ids) + max(map(len, question.labels)) - 1
            for question in trainer.questions
        ],
        reading_bytes_per_token=(
            2 * config.num_layers * config.num_kv_heads * config.head_dim * itemsize
        ),
        reading_cache_bytes=trainer.settings.reading_cache_bytes,
    )


def _num_parameters(config: ModelConfig, settings: Hyperparameters) -> int:
    """Return the parameters of one adapter: rank * (in + out) for every module of every layer."""
    widths = (
        config.in_features(module) + config.out_features(module)
        for module in settings.target_modules
    )
    return config.num_layers * settings.rank * sum(widths)


def _bytes_while_reading(config: ModelConfig, itemsize: int) -> int:
    """Return what a token takes while it is read: the residual and its norm, and gate, up and both."""
    return (2 * config.hidden_size + 3 * config.intermediate_size) * itemsize
