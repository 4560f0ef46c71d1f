"""The best state of each adapter, by its loss on conversations that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Selection:
    """Keeps each adapter's best row and says which ones have stopped getting better.

    A row is kept in the type it will be served in. An adapter is judged by its own losses alone, so
    what becomes of it does not depend on which others are trained beside it.
    """

    def __init__(self, patience_epochs: int, dtype: torch.dtype):
        """Nothing has been judged yet."""
        self.patience_epochs = patience_epochs
        self.dtype = dtype
        self._losses: dict[int, list[float]] = {}
        self._best: dict[int, Tensor] = {}

    def record(self, losses: Mapping[int, float], rows: Sequence[Tensor]) -> None:
        """Take the loss of each adapter judged now, and its row if it never had a lower one."""
        for index, loss in losses.items():
            earlier = self._losses.setdefault(index, [])
            if loss < min(earlier, default=math.inf):
                self._best[index] = rows[index].detach().to(self.dtype, copy=True)
            earlier.append(loss)

    @property
    def num_rounds(self) -> int:
        """How often adapters have been judged."""
        return max(map(len, self._losses.values()), default=0)

    def best_losses(self) -> dict[int, float]:
        """Return the lowest loss of each adapter that has been judged."""
        return {index: min(losses) for index, losses in self._losses.items()}

    def is_done(self, index: int) -> bool:
        """Return whether the adapter has not become better for as long as it may."""
        losses = self._losses.get(index)
        if not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self.patience_epochs

    def learning(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Return those that are not done."""
        return tuple(index for index in indices if not self.is_done(index))

    def restore(self, rows: Sequence[Tensor]) -> None:
        """Put every adapter that has been judged back to its best row."""
        with torch.no_grad():
            for index, row in self._best.items():
                rows[index].copy_(row)

    def tensors(self) -> dict[str, Tensor]:
        """Return the best rows, for a checkpoint."""
        return {str(index): row for index, row in self._best.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the losses, for a checkpoint."""
        return {str(index): losses for index, losses in self._losses.items()}

    def load(self, losses: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `to_json` and `tensors` returned."""
        self._losses = {int(index): list(values) for index, values in losses.items()}
        self._best = {int(index): row for index, row in tensors.items()}
