"""DoRA: an adapter that also says how long each row of a module's whole weight is.

The weight is ``m * (W + s B A) / |W + s B A|``, row by row, with a trained magnitude m (arXiv
2402.09353). The lengths follow from the base's weights, so they are computed once, when the adapter
is loaded; what is left for the forward pass is one factor an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from descant.model.config import SITE_MODULES, Module, Site
from descant.model.lora import LoraPair, OutputScale
from descant.model.transformer import Layer, Transformer
from descant.schema.errors import InvalidAdapter


def output_scales(
    weights: Mapping[tuple[int, Module], LoraPair], model: Transformer | None, folder: Path
) -> dict[tuple[int, Site], OutputScale]:
    """Return what each site's base output is multiplied by, on the model's device.

    Raises:
        InvalidAdapter: the base's weights are not at hand; names the adapter's folder.
    """
    if model is None or model.quantization is not None:
        raise InvalidAdapter(
            f"{folder}: use_dora: the lengths of its weights follow from the base's, which are "
            f"{'not given' if model is None else f'kept in {model.quantization}'}.",
            field="use_dora",
            remedy="Load it on a model that is not quantized.",
        )
    return {
        (layer.index, site): _scale_of(layer, site, weights)
        for layer in model.blocks()
        for site, modules in SITE_MODULES.items()
        if any((layer.index, module) in weights for module in modules)
    }


def _scale_of(
    layer: Layer, site: Site, weights: Mapping[tuple[int, Module], LoraPair]
) -> OutputScale:
    """Return the factors of one site; 1 for modules that the adapter does not have.

    Semantics (a bias is not scaled):
        y = scale * (x @ W.T + s x @ A.T @ B.T) + bias
    """
    linear = layer.linear(site)
    scale = torch.cat(
        [
            _factors(rows, weights.get((layer.index, module)))
            for module, rows in zip(
                SITE_MODULES[site], torch.split(linear.weight, linear.widths), strict=True
            )
        ]
    )
    bias = torch.zeros_like(scale) if linear.bias is None else linear.bias.detach().float()
    return OutputScale(scale, (1 - scale) * bias)


def _factors(rows: Float[Tensor, "O I"], pair: LoraPair | None) -> Float[Tensor, " O"]:
    if pair is None or pair.magnitude is None:
        return torch.ones(len(rows), device=rows.device)
    a, b, magnitude = (x.to(rows.device, torch.float32) for x in (pair.a, pair.b, pair.magnitude))
    whole = torch.addmm(rows.detach().float(), b, a, alpha=pair.scaling)
    lengths: Tensor = torch.linalg.vector_norm(whole, dim=1)
    return magnitude / lengths
