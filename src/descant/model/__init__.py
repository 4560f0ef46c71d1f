"""Token ids to logits: the model, its weights and its adapters."""

from descant.model.attention import DenseCausal
from descant.model.config import SITE_MODULES, ModelConfig, Module, RopeConfig, Site
from descant.model.lora import (
    Activation,
    LoraAdapter,
    LoraPair,
    SingleAdapter,
    find_invocation,
    fuse,
)
from descant.model.transformer import Attend, LayerAdapters, Linear, Transformer

__all__ = [
    "SITE_MODULES",
    "Activation",
    "Attend",
    "DenseCausal",
    "LayerAdapters",
    "Linear",
    "LoraAdapter",
    "LoraPair",
    "ModelConfig",
    "Module",
    "RopeConfig",
    "SingleAdapter",
    "Site",
    "Transformer",
    "find_invocation",
    "fuse",
]
