"""The adapters being trained: one float32 row of parameters each.

A step works on a copy in the model's type of those adapters that take part in it. There every tensor
has the adapter as its first dimension and every operation keeps adapters apart, so training many at
once gives each the gradient it would have had alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.model import SITE_MODULES, LoraPair, ModelConfig, Module, Site
from descant.training.hyperparameters import Hyperparameters
from descant.training.low_rank_update import LowRankUpdate


class _Place(NamedTuple):
    """Where a row keeps one layer's matrices of one site: A of all its modules, then each B."""

    start: int
    in_features: int
    rank: int
    modules: tuple[Module, ...]
    widths: tuple[int, ...]
    columns: tuple[int, ...]
    """Where each module's output begins in the output of the site."""

    @property
    def stop(self) -> int:
        return self.start + self.rank * (self.in_features * len(self.modules) + sum(self.widths))

    def matrices(self, rows: Float[Tensor, "N P"]) -> list[Tensor]:
        """Return views: shrink [N, I, M*R] and, per module, expand [N, R, O]."""
        shape = (self.in_features, len(self.modules) * self.rank)
        views, start = [], self.start
        for height, width in (shape, *((self.rank, width) for width in self.widths)):
            stop = start + height * width
            views.append(rows[:, start:stop].view(len(rows), height, width))
            start = stop
        return views


class AdapterStack(nn.Module):
    """A and B of every adapter, layer and target module."""

    def __init__(
        self,
        config: ModelConfig,
        settings: Hyperparameters,
        seeds: Sequence[int],
        device: torch.device,
    ):
        """Initialise each adapter from its own seed: A as Kaiming-uniform, B as zero, as PEFT does."""
        super().__init__()
        self.config = config
        self.settings = settings
        self.places = dict(_places(config, settings))
        size = max(place.stop for place in self.places.values())
        self._values = torch.zeros(len(seeds), size, device=device)
        self._gradients = torch.empty_like(self._values)
        for row, seed in zip(self._values, seeds, strict=True):
            self._initialise(row, torch.Generator().manual_seed(seed))
        self.rows = nn.ParameterList(self._values.unbind())

    @property
    def scaling(self) -> float:
        """Alpha / rank."""
        return self.settings.alpha / self.settings.rank

    def activate(self, chosen: Sequence[int], dtype: torch.dtype) -> ActiveAdapters:
        """Return the chosen adapters as the forward pass uses them, ready to take gradients."""
        rows = self._values
        if len(chosen) < len(rows):
            rows = rows[list(chosen)]
        # Each matrix is copied apart: batched products copy again what is not dense.
        matrices = {
            key: [
                torch.empty_like(matrix, dtype=dtype, memory_format=torch.contiguous_format)
                .copy_(matrix)
                .requires_grad_()
                for matrix in place.matrices(rows)
            ]
            for key, place in self.places.items()
        }
        return ActiveAdapters(self.places, matrices, self.scaling)

    def take_gradients(
        self, chosen: Sequence[int], active: ActiveAdapters, max_norm: float
    ) -> Float[Tensor, " N"]:
        """Give each chosen row its gradient, scaled down to `max_norm`, and the others none.

        Returns the norms before.
        """
        gradients = self._gradients[: len(chosen)]
        for key, place in self.places.items():
            pieces = zip(place.matrices(gradients), active.matrices[key], strict=True)
            for piece, leaf in pieces:
                # A reader's last layer ends with its keys and values: nothing comes back to the rest.
                if leaf.grad is None:
                    piece.zero_()
                else:
                    piece.copy_(leaf.grad)
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        if (factors < 1.0).any():
            gradients.mul_(factors[:, None])
        for row in self.rows:
            row.grad = None
        for gradient, index in zip(gradients, chosen, strict=True):
            self.rows[index].grad = gradient
        return norms

    def pairs(self, index: int) -> dict[tuple[int, Module], LoraPair]:
        """Return one adapter's matrices, as they are saved."""
        row = self.rows[index].detach()[None]
        pairs = {}
        for (layer, _), place in self.places.items():
            shrink, *expands = (matrix[0].T for matrix in place.matrices(row))
            shrinks = shrink.split(place.rank)
            for module, a, b in zip(place.modules, shrinks, expands, strict=True):
                pairs[layer, module] = LoraPair(a.contiguous(), b.contiguous(), self.scaling)
        return pairs

    def _initialise(self, row: Float[Tensor, " P"], generator: torch.Generator) -> None:
        for place in self.places.values():
            shrink = place.matrices(row[None])[0][0]
            bound = 1 / math.sqrt(place.in_features)
            shrink.copy_((2 * torch.rand(shrink.shape, generator=generator) - 1) * bound)


class ActiveAdapters:
    """The adapters of one step as the forward pass asks for them; its matrices take the gradients."""

    def __init__(
        self,
        places: Mapping[tuple[int, Site], _Place],
        matrices: Mapping[tuple[int, Site], list[Tensor]],
        scaling: float,
    ):
        """`matrices` holds each site's shrink and expands."""
        self.places = places
        self.matrices = matrices
        self.scaling = scaling

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Return y plus each token's update; tokens stand adapter by adapter, equally many each."""
        place = self.places.get((layer, site))
        if place is None:
            return y
        shrink, *expands = self.matrices[layer, site]
        out: Tensor = LowRankUpdate.apply(x, y, self.scaling, place.columns, shrink, *expands)  # type: ignore[no-untyped-call]
        return out


def _places(
    config: ModelConfig, settings: Hyperparameters
) -> Iterator[tuple[tuple[int, Site], _Place]]:
    start = 0
    for layer in range(config.num_layers):
        for site, modules in SITE_MODULES.items():
            widths = [config.out_features(module) for module in modules]
            columns = itertools.accumulate(widths, initial=0)
            present = [
                (module, width, column)
                for module, width, column in zip(modules, widths, columns, strict=False)
                if module in settings.target_modules
            ]
            if present:
                in_features = config.in_features(modules[0])
                place = _Place(start, in_features, settings.rank, *zip(*present, strict=True))
                yield (layer, site), place
                start = place.stop
