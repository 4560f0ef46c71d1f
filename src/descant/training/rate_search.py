"""A learning rate for each adapter, from one epoch at each of a few."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from descant.data import Example
from descant.model import LoraAdapter, Transformer
from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.readings import ReadingStore


class RateSearch:
    """Tries `search_rates`, all adapters at once; readings are made once for all of them."""

    def __init__(
        self,
        model: Transformer,
        questions: Sequence[Question],
        examples: Sequence[Example],
        settings: Hyperparameters,
        dev: Sequence[Example],
        reader: LoraAdapter | None = None,
    ):
        """Prepare; nothing is read yet."""
        self.readings: ReadingStore | None = None
        self.settings = replace(settings, epochs=1, min_steps=1)
        self._model, self._questions, self._examples = model, questions, examples
        self._dev, self._reader = dev, reader

    def run(
        self,
        folder: Path,
        clock: Callable[[], float],
        on_progress: Callable[[Progress], None],
    ) -> dict[str, float]:
        """Return, by question, the rate with the lowest loss on the conversations to judge by.

        A question without a label there is left out. `folder` is for the search alone, and gone
        behind it; an interrupt loses the search.

        Raises:
            TrainingDiverged: a loss is not a number.
        """
        best: dict[str, tuple[float, float]] = {}
        checkpoint = Checkpoint(folder, "search")
        for rate in self.settings.search_rates:
            for name, loss in self._losses(rate, checkpoint, clock, on_progress).items():
                best[name] = min(best.get(name, (loss, rate)), (loss, rate))
        shutil.rmtree(folder, ignore_errors=True)
        return {name: rate for name, (_, rate) in best.items()}

    def _losses(
        self,
        rate: float,
        checkpoint: Checkpoint,
        clock: Callable[[], float],
        on_progress: Callable[[Progress], None],
    ) -> dict[str, float]:
        settings = replace(self.settings, learning_rate=rate)
        trainer = OnePassTrainer(
            self._model, self._questions, self._examples, settings, self._dev, self._reader
        )
        if self.readings is not None:
            trainer.readings = self.readings
        trainer.train(checkpoint, clock, on_progress)
        assert isinstance(trainer.readings, ReadingStore)
        self.readings = trainer.readings
        losses = trainer.selection.best_losses()
        return {trainer.questions[index].name: loss for index, loss in losses.items()}
