"""One variant after the other: trained within a budget, judged on one task, kept on disk."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from descant.cli.evaluate import check_apart
from descant.cli.loading import Base, load_base, load_llm
from descant.cli.terminal import Terminal
from descant.cli.train import train_adapters
from descant.cli.train_plan import TrainingPlan
from descant.data import data_hash
from descant.evaluation import Outcome, Predictions, Task, run_task
from descant.registry import replacing
from descant.schema import Answer, unanswered
from descant.schema.errors import InvalidConfig
from descant.training import Recipe

_RESULT_FILE = "comparison.json"


@dataclass(frozen=True)
class Variant:
    """One way to train the same indicators."""

    base: str
    rank: int

    @property
    def name(self) -> str:
        """What it is called, in tables and as a folder."""
        return f"{Path(self.base).name}-rank-{self.rank}"


@dataclass(frozen=True)
class Judged:
    """What one variant came out at."""

    variant: Variant
    base_parameters: int
    base_bytes: int
    adapter_bytes: int
    """Of one adapter, on average."""
    train_s: float
    score_s: float
    """A conversation, all indicators, one conversation at a time."""
    predictions: Predictions


@dataclass(frozen=True)
class LeftOut:
    """A variant that the budget had no room for."""

    variant: Variant
    estimated_s: float
    remaining_s: float


class Comparison:
    """Trains and judges variants of one recipe on one task."""

    def __init__(
        self,
        terminal: Terminal,
        recipe: Recipe,
        task: Task,
        output: Path,
        budget_s: float | None,
    ):
        """Read and check the recipe's data; no model is loaded yet.

        Raises:
            InvalidConfig: the recipe trains otherwise than in one pass, or behind a reader.
            InvalidData: what is judged on is also learned from.
        """
        _check_method(recipe)
        self.terminal, self.task, self.output = terminal, task, output
        self.plan = TrainingPlan.of(recipe)
        check_apart(task, [*self.plan.rows, *self.plan.dev_rows])
        self._budget_s = budget_s
        self._spent_s = 0.0

    def all(self, variants: Sequence[Variant]) -> list[Judged | LeftOut]:
        """Return what each came out at, in their order; what was done before is not done again."""
        return [self._one(variant) for variant in variants]

    def _one(self, variant: Variant) -> Judged | LeftOut:
        folder = self.output / variant.name
        done = _read_result(folder / _RESULT_FILE, variant, self._identity(variant))
        if done is not None:
            self._spent_s += done.train_s
            return done
        self.terminal.note(f"{variant.name}:")
        base = load_base(self.terminal, variant.base)
        plan = self._plan(variant, folder)
        left_out = self._left_out(variant, plan, base)
        if left_out is not None:
            return left_out
        judged = self._judge(variant, base, self._train(plan, base), folder)
        self._spent_s += judged.train_s
        _write_result(folder / _RESULT_FILE, judged, self._identity(variant))
        return judged

    def _plan(self, variant: Variant, folder: Path) -> TrainingPlan:
        recipe = self.plan.recipe
        scaling = recipe.training.alpha / recipe.training.rank
        # The same scaling at every rank: else a rank would be judged by its learning rate.
        training = replace(recipe.training, rank=variant.rank, alpha=scaling * variant.rank)
        changed = replace(recipe, base=variant.base, training=training, output=folder / "adapters")
        return replace(self.plan, recipe=changed)

    def _left_out(self, variant: Variant, plan: TrainingPlan, base: Base) -> LeftOut | None:
        if self._budget_s is None:
            return None
        remaining_s = max(0.0, self._budget_s - self._spent_s)
        estimated_s = plan.estimate(self.terminal, base).time_s
        return None if estimated_s <= remaining_s else LeftOut(variant, estimated_s, remaining_s)

    def _train(self, plan: TrainingPlan, base: Base) -> float:
        recipe = plan.recipe
        run = train_adapters(
            self.terminal,
            base,
            plan.rows,
            plan.indicators,
            recipe.training,
            recipe.output,
            dev_rows=plan.dev_rows,
        )
        return run.time_s

    def _judge(self, variant: Variant, base: Base, train_s: float, folder: Path) -> Judged:
        weights = list(base.model.model.parameters())
        llm = load_llm(self.terminal, variant.base, folder / "adapters")
        llm.load_adapters()
        started = time.perf_counter()
        with self.terminal.progress("Judging", "conversations") as advance:
            predictions = run_task(self.task, llm, advance)
        score_s = (time.perf_counter() - started) / len(self.task.rows)
        files = list((folder / "adapters").glob("*/adapter_model.safetensors"))
        return Judged(
            variant,
            sum(weight.numel() for weight in weights),
            sum(weight.nbytes for weight in weights),
            sum(file.stat().st_size for file in files) // len(files),
            train_s,
            score_s,
            predictions,
        )

    def _identity(self, variant: Variant) -> str:
        plan = self.plan
        stated = [
            asdict(variant),
            plan.recipe.training.to_json(),
            data_hash(plan.rows),
            data_hash(plan.dev_rows),
            data_hash(self.task.rows),
            [asdict(indicator) for indicator in plan.indicators],
        ]
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _check_method(recipe: Recipe) -> None:
    if recipe.method != "one_pass" or recipe.reader is not None:
        raise InvalidConfig(
            "Bases and ranks are compared by one_pass behind the base model.",
            field="method" if recipe.reader is None else "reader",
            remedy='Use a recipe with method = "one_pass" and no reader.',
        )


def _write_result(path: Path, judged: Judged, identity: str) -> None:
    fields = {
        name: value
        for name, value in vars(judged).items()
        if name not in ("variant", "predictions")
    }
    answers = [
        [each.transcript_id, each.indicator, each.expected, each.answer.label]
        for each in judged.predictions.outcomes
    ]
    stated = {"identity": identity, "task": judged.predictions.task, **fields, "answers": answers}
    with replacing(path) as file:
        file.write(json.dumps(stated).encode())


def _read_result(path: Path, variant: Variant, identity: str) -> Judged | None:
    if not path.is_file():
        return None
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if stated.pop("identity") != identity:
        return None
    task, outcomes = stated.pop("task"), tuple(_outcomes(stated.pop("answers")))
    return Judged(variant, **stated, predictions=Predictions(task, outcomes))


def _outcomes(answers: Sequence[Sequence[Any]]) -> Iterator[Outcome]:
    for transcript_id, indicator, expected, label in answers:
        answer = (
            unanswered(indicator, "not answered then")
            if label is None
            else Answer(indicator, label, {}, None, None)
        )
        yield Outcome(transcript_id, indicator, expected, answer)
