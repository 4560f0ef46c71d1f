"""Adapters: low-rank pairs for some of the linear layers, and when they are active.

Knows nothing of files (see `descant.model.adapter_folder`) or of which adapter sits in which slot
of the engine. `fuse` gives the matrices in the form in which the forward pass applies them,
`SingleAdapter` applies one adapter the slow and obvious way.

Dimension key: R rank, K fused rank of a site (R times its modules), I/O features in and out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descant.model.config import SITE_MODULES, ModelConfig, Module, Site

Activation = Literal["start", "invocation"]


@dataclass(frozen=True)
class LoraPair:
    """The low-rank update of one module: y += scaling * b @ a @ x."""

    a: Float[Tensor, "R I"]
    b: Float[Tensor, "O R"]
    scaling: float
    magnitude: Float[Tensor, " O"] | None = None
    """DoRA: how long each row of the module's whole weight is to be; see `descant.model.dora`."""

    @property
    def rank(self) -> int:
        """R."""
        return self.a.shape[0]


class OutputScale(NamedTuple):
    """What DoRA does to the base output of one site: y becomes scale * y + shift."""

    scale: Float[Tensor, " O"]
    shift: Float[Tensor, " O"]

    def apply(self, y: Float[Tensor, "T O"]) -> Float[Tensor, "T O"]:
        """Return the output, computed in float32."""
        return torch.addcmul(self.shift, y.float(), self.scale).to(y.dtype)


@dataclass(frozen=True)
class LoraAdapter:
    """One adapter: its matrices, and from which token on it acts."""

    name: str
    content_hash: str
    """``sha256:…`` over weights and the settings that change the output; never over the name."""
    base_hash: str | None
    """The hash of the base model it was trained on, where that is known."""
    activation: Activation
    """``start``: plain LoRA, active from token 0. ``invocation``: aLoRA."""
    invocation_tokens: tuple[int, ...] | None
    activation_delay: Literal[0, 1]
    """Tokens between the first invocation token and the first active one; 1 only for files made by
    IBM's first package."""
    weights: Mapping[tuple[int, Module], LoraPair]
    reader: LoraAdapter | None = None
    """A plain LoRA that acts on what stands before the invocation, the same for all adapters that
    were trained behind it; None: the base model alone reads."""
    output_scales: Mapping[tuple[int, Site], OutputScale] = field(default_factory=dict)
    """DoRA: by layer and site; none for any other adapter."""

    @cached_property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(pair.rank for pair in self.weights.values())

    def first_active(self, token_ids: Sequence[int]) -> int | None:
        """Return the position from which the adapter acts in these tokens; None: nowhere."""
        if self.activation == "start" or self.invocation_tokens is None:
            return 0
        start = find_invocation(token_ids, self.invocation_tokens)
        return None if start is None else start + self.activation_delay


def find_invocation(token_ids: Sequence[int], invocation: Sequence[int]) -> int | None:
    """Return where the last occurrence of `invocation` starts, or None if there is none."""
    wanted, length = list(invocation), len(invocation)
    for start in range(len(token_ids) - length, -1, -1):
        if list(token_ids[start : start + length]) == wanted:
            return start
    return None


def fuse(
    adapter: LoraAdapter, layer: int, site: Site, config: ModelConfig, rank: int
) -> tuple[Float[Tensor, "I K"], Float[Tensor, "K O"]]:
    """Return an adapter's matrices for one site, its modules side by side, padded with zeros.

    K = rank * number of modules in the site. `expand` is block-diagonal over the modules and carries
    the scaling, and DoRA's, so that the update of all modules at once is ``x @ shrink @ expand``. A
    module the adapter does not have is zero.
    """
    modules = SITE_MODULES[site]
    widths = [config.out_features(module) for module in modules]
    like = next(iter(adapter.weights.values())).a
    shrink = like.new_zeros(config.in_features(modules[0]), rank * len(modules))
    expand = like.new_zeros(rank * len(modules), sum(widths))
    for index, module in enumerate(modules):
        pair = adapter.weights.get((layer, module))
        if pair is None:
            continue
        row, column = index * rank, sum(widths[:index])
        shrink[:, row : row + pair.rank] = pair.a.T
        expand[row : row + pair.rank, column : column + widths[index]] = pair.scaling * pair.b.T
    scaled = adapter.output_scales.get((layer, site))
    return shrink, expand if scaled is None else (expand * scaled.scale).to(expand.dtype)


class SingleAdapter:
    """Applies one adapter to the tokens where it is active: the slow twin of every faster way.

    The update is computed in the adapter's dtype, as PEFT does.
    """

    def __init__(self, adapter: LoraAdapter, config: ModelConfig, active: Bool[Tensor, " T"]):
        """Take one flag per token of the step."""
        self.adapter = adapter
        self.config = config
        self.active = active

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Return y plus the update of each active token."""
        widths = [self.config.out_features(module) for module in SITE_MODULES[site]]
        parts = list(torch.split(y, widths, -1))
        for index, module in enumerate(SITE_MODULES[site]):
            pair = self.adapter.weights.get((layer, module))
            if pair is not None:
                update = pair.scaling * (x.to(pair.a.dtype) @ pair.a.T @ pair.b.T)
                parts[index] = (parts[index] + update * self.active[:, None]).to(y.dtype)
        updated = torch.cat(parts, -1)
        scaled = self.adapter.output_scales.get((layer, site))
        if scaled is None:
            return updated
        return torch.where(self.active[:, None], scaled.apply(updated), updated)
