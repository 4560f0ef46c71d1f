"""The adapters being trained: one float32 parameter a layer, module and side for all of them.

Every tensor has the adapter as its first dimension and every operation keeps adapters apart, so
training many at once gives each the gradient it would have had alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.model import SITE_MODULES, LoraPair, ModelConfig, Module, Site
from descant.training.recipe import Recipe


class AdapterStack(nn.Module):
    """A and B of every adapter, layer and target module."""

    def __init__(
        self, config: ModelConfig, recipe: Recipe, seeds: Sequence[int], device: torch.device
    ):
        """Initialise each adapter from its own seed: A as Kaiming-uniform, B as zero, as PEFT does."""
        super().__init__()
        self.config = config
        self.recipe = recipe
        self.num_adapters = len(seeds)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shrinks = nn.ParameterDict()
        self.expands = nn.ParameterDict()
        for layer in range(config.num_layers):
            for module in recipe.target_modules:
                a = torch.stack([self._initial(module, g) for g in generators])
                b = torch.zeros(len(seeds), recipe.rank, config.out_features(module))
                self.shrinks[_key(layer, module)] = nn.Parameter(a.to(device))
                self.expands[_key(layer, module)] = nn.Parameter(b.to(device))

    @property
    def scaling(self) -> float:
        """Alpha / rank."""
        return self.recipe.alpha / self.recipe.rank

    def apply_to(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Return y plus each token's update; tokens stand adapter by adapter, equally many each.

        Semantics:
            out[t] = y[t] + alpha / rank * expand[a]^T shrink[a]^T x[t]   where a = t // (T / A)
        """
        modules = SITE_MODULES[site]
        present = [module for module in modules if module in self.recipe.target_modules]
        if not present:
            return y
        shrink = torch.cat([self.shrinks[_key(layer, m)].to(x.dtype) for m in present], -1)
        rows = x.view(self.num_adapters, -1, x.shape[-1])
        low_rank = torch.bmm(rows, shrink) * self.scaling
        pieces = iter(low_rank.split(self.recipe.rank, -1))
        updates = [
            torch.bmm(next(pieces), self.expands[_key(layer, module)].to(x.dtype))
            if module in present
            else x.new_zeros(self.num_adapters, low_rank.shape[1], self.config.out_features(module))
            for module in modules
        ]
        return y + torch.cat(updates, -1).view(y.shape)

    def pairs(self, index: int) -> dict[tuple[int, Module], LoraPair]:
        """Return one adapter's matrices, as they are saved."""
        return {
            (layer, module): LoraPair(
                self.shrinks[_key(layer, module)][index].detach().T.contiguous(),
                self.expands[_key(layer, module)][index].detach().T.contiguous(),
                self.scaling,
            )
            for layer in range(self.config.num_layers)
            for module in self.recipe.target_modules
        }

    def clip_gradients(self, max_norm: float) -> Float[Tensor, " A"]:
        """Scale each adapter's gradient down to `max_norm`; return the norms before."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norms: Tensor = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g, dim=(1, 2)) for g in gradients]), dim=0
        )
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        if (factors < 1.0).any():
            for gradient in gradients:
                gradient.mul_(factors[:, None, None])
        return norms

    def _initial(self, module: Module, generator: torch.Generator) -> Float[Tensor, "I R"]:
        width = self.config.in_features(module)
        bound = 1 / math.sqrt(width)
        uniform = torch.rand(self.recipe.rank, width, generator=generator)
        return ((2 * uniform - 1) * bound).T.contiguous()


class StackedLora:
    """The stack as the forward pass asks for it."""

    def __init__(self, stack: AdapterStack):
        self.stack = stack

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """See `AdapterStack.apply_to`."""
        return self.stack.apply_to(layer, site, x, y)


def _key(layer: int, module: Module) -> str:
    return f"{layer}-{module}"
