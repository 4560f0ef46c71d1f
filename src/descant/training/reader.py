"""A reader: one LoRA over the reading itself, trained together with the tails of all questions.

Tails put down what they would have changed in keys and values, and one backward pass through the
conversation, whatever the number of questions, gives that to the reader. Afterwards it is frozen and part
of the ground: tails are trained behind it as they would be behind the base model, those of later questions
too, and the tails it was trained with have done their work.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from jaxtyping import Float
from torch import Tensor, nn

from descant.data import Example
from descant.model import Transformer
from descant.training.adapter_stack import ActiveAdapters, AdapterStack
from descant.training.hyperparameters import Hyperparameters
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, adapter_seed
from descant.training.readings import LiveReadings
from descant.training.schedule import Batch, learning_rate_factor

READER_NAME = "reader"


class ReaderTrainer(OnePassTrainer):
    """Trains a reader and its tails.

    All end as they were behind the epoch that was best for them together: a tail is worth nothing
    behind another reader.
    """

    def __init__(
        self,
        model: Transformer,
        questions: Sequence[Question],
        examples: Sequence[Example],
        settings: Hyperparameters,
        dev: Sequence[Example] = (),
    ):
        """Prepare the reader beside adapters and optimizer."""
        super().__init__(model, questions, examples, settings, dev)
        seeds = [adapter_seed(settings.seed, READER_NAME)]
        self.reader = AdapterStack(model.config, settings, seeds, model.device)
        self.live = LiveReadings(model, self.reader)
        self.readings = self.live
        self.optimizer.add_param_group({"params": list(self.reader.rows)})

    @property
    def trained(self) -> nn.Module:
        """Reader and tails."""
        return nn.ModuleDict({"tails": self.stack, "reader": self.reader})

    @property
    def rows(self) -> list[Tensor]:
        """The tails', and behind them the reader's."""
        return [*super().rows, *self.reader.rows]

    def dev_losses(self) -> dict[int, float]:
        """Return the mean loss of all questions, for every row alike."""
        self.live.renew()
        mean = fmean(super().dev_losses().values())
        return dict.fromkeys(range(len(self.rows)), mean)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Read under the reader as it is now, and learn from a batch."""
        self.live.renew()
        return super().train_step(batch)

    def _take_gradients(self, batch: Batch, active: ActiveAdapters) -> Float[Tensor, " N"]:
        norms = super()._take_gradients(batch, active)
        self.reader.take_gradients([0], self.live.active, self.settings.max_gradient_norm)
        return norms

    def _set_learning_rates(self, batch: Batch) -> None:
        super()._set_learning_rates(batch)
        factor = learning_rate_factor(self.step, self.num_steps, self.settings.warmup_share)
        self.optimizer.param_groups[-1]["lr"] = self.settings.learning_rate * factor
