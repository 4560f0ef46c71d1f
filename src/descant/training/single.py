"""One adapter after the other, each on its own, through PEFT: the way everybody else trains.

Needs the extra ``train``. Data, renderer, loss, batches, first values and manifest are those of
one-pass training; what differs is that every conversation is read, forward and backward, once for
each adapter, and so that an adapter may act from the first token on.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from descant.data import Example
from descant.model import LoadedModel, LoraPair, Module
from descant.registry import MANIFEST_FILE, read_manifest, replacing
from descant.schema import AdapterRef, Indicator
from descant.schema.errors import InvalidConfig
from descant.training.hyperparameters import Hyperparameters
from descant.training.lessons import Clocks, Lessons
from descant.training.method import Method, check_method
from descant.training.objective import Question, weights_by_question
from descant.training.one_pass import Progress, adapter_seed, fingerprint, refuse_quantized
from descant.training.schedule import plan_batches
from descant.training.trained_adapter import Origin, as_served, stated, write_adapter

if TYPE_CHECKING:
    from descant.training.label_trainer import Lesson, OnStep


def train_single(
    lessons: Lessons,
    output: Path,
    *,
    method: Method,
    clocks: Clocks,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[AdapterRef]:
    """Train one adapter per indicator, one after the other, and write each as soon as it is ready.

    Raises:
        MissingDependency: the extra is not installed.
        InvalidConfig: there is no such method, it cannot be used here, or the model is quantized.
        TrainingDiverged: a loss is not a number; adapters already written stay.
        StorageFull: the disk is full; nothing already written is lost.
    """
    check_method(method)
    base, settings = lessons.base, lessons.settings
    refuse_quantized(base.model)
    alone = _lessons(lessons.questions, lessons.examples, settings)
    origin = Origin.of(lessons, method, clocks.now())
    identity = fingerprint(base.base_hash, lessons.data_hash, settings, lessons.questions)
    state = _RunState(output, f"{method} {identity}")
    state.begin(resume)
    report = _Report([len(lesson.batches) for lesson in alone], clocks.steady, on_progress)
    references = []
    for indicator, lesson in zip(lessons.indicators, alone, strict=True):
        reference = _finished(output, indicator, origin) if resume else None
        report.begin(lesson, settings.epochs)
        if reference is None:
            folder = state.folder / indicator.adapter
            pairs = _train(base, method, lesson, settings, folder, report.on_step)
            invocation = lesson.question.tail_ids if method == "alora" else None
            adapter = as_served(indicator.adapter, pairs, invocation, base)
            losses = {"train_loss": report.loss}
            reference = write_adapter(output, adapter, indicator, lessons.rows, origin, losses)
            shutil.rmtree(folder, ignore_errors=True)
        references.append(reference)
    state.remove()
    return references


def _lessons(
    questions: Sequence[Question], examples: Sequence[Example], settings: Hyperparameters
) -> list[Lesson]:
    """Return what each question is trained on: the batches it would have in a pass of its own."""
    from descant.training.label_trainer import Lesson

    rows = sorted(examples, key=lambda example: example.transcript_id)
    targets = [example.targets for example in rows]
    weights = weights_by_question(questions, targets, settings.class_weight_power)
    return [
        Lesson(
            question,
            rows,
            weights[question.name],
            plan_batches(
                [{0} if question.name in labels else set() for labels in targets], settings
            ),
        )
        for question in questions
    ]


def _train(
    base: LoadedModel,
    method: Method,
    lesson: Lesson,
    settings: Hyperparameters,
    folder: Path,
    on_step: OnStep,
) -> Mapping[tuple[int, Module], LoraPair]:
    from descant.training.label_trainer import LabelTrainer
    from descant.training.peft_model import build_peft_model, trained_pairs

    question = lesson.question
    seed = adapter_seed(settings.seed, question.name)
    model = build_peft_model(base, method, settings, question.tail_ids, seed)
    LabelTrainer(model, base.model, lesson, settings, folder, on_step).learn()
    return trained_pairs(model, base, settings)


def _finished(output: Path, indicator: Indicator, origin: Origin) -> AdapterRef | None:
    """Return the adapter that this run has already written, if it has."""
    folder = output / indicator.adapter
    if not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = read_manifest(folder)
    made_of = (manifest.base_hash, manifest.data_hash, manifest.recipe, manifest.indicator)
    if made_of != (origin.base_hash, origin.data_hash, origin.recipe, stated(indicator)):
        return None
    return AdapterRef(indicator.adapter, manifest.content_hash)


class _RunState:
    """The folder of a run under way: whose it is, and the Trainer's checkpoints."""

    def __init__(self, output: Path, identity: str):
        self.folder = output / ".checkpoint"
        self.identity = identity
        self._path = self.folder / "single.json"

    def begin(self, resume: bool) -> None:
        if resume:
            self._check()
            return
        self.remove()
        with replacing(self._path) as file:
            file.write(json.dumps({"identity": self.identity}).encode())

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self) -> None:
        if not self._path.is_file():
            raise InvalidConfig(
                f"There is nothing to resume in {self.folder.parent}.",
                field="resume",
                remedy="Train without --resume.",
            )
        if json.loads(self._path.read_text(encoding="utf-8"))["identity"] != self.identity:
            raise InvalidConfig(
                f"{self.folder} belongs to another run: data, recipe, base, method or indicators "
                "differ.",
                field="resume",
                remedy="Use another output folder, or train again without --resume.",
            )


class _Report:
    """Tells of the whole run, where each Trainer knows its own adapter only."""

    def __init__(
        self,
        num_steps: Sequence[int],
        clock: Callable[[], float],
        on_progress: Callable[[Progress], None],
    ):
        self._num_steps = sum(num_steps)
        self._clock = clock
        self._on_progress = on_progress
        self._started = clock()
        self._steps_before = 0
        self._steps_here = 0
        self._num_conversations = 0
        self._lesson: Lesson | None = None
        self._recent: deque[float] = deque()

    @property
    def loss(self) -> float | None:
        """Mean over the last epoch of the adapter at hand; None where no step remained for it."""
        return fmean(self._recent) if self._recent else None

    def begin(self, lesson: Lesson, epochs: int) -> None:
        """Turn to the next adapter."""
        if self._lesson is not None:
            self._steps_before += len(self._lesson.batches)
        self._lesson = lesson
        self._recent = deque(maxlen=max(1, len(lesson.batches) // epochs))

    def on_step(self, step: int, num_conversations: int, loss: float) -> None:
        """Take what a Trainer says of a step."""
        assert self._lesson is not None
        self._steps_here += 1
        self._num_conversations += num_conversations
        self._recent.append(loss)
        self._on_progress(
            Progress(
                self._steps_before + step,
                self._num_steps,
                self._num_conversations,
                self._clock() - self._started,
                {self._lesson.question.name: loss},
                self._steps_here,
            )
        )
