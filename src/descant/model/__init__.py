"""Token ids to logits: the model, its weights and its adapters."""

from descant.model.adapter_folder import (
    adapter_pair,
    adapter_tensors,
    content_hash,
    load_adapter,
    save_adapter,
)
from descant.model.attention import DenseCausal
from descant.model.config import SITE_MODULES, ModelConfig, Module, RopeConfig, Site
from descant.model.linear import Linear, to_tiles
from descant.model.lora import (
    Activation,
    LoraAdapter,
    LoraPair,
    OutputScale,
    SingleAdapter,
    find_invocation,
    fuse,
)
from descant.model.native import has_amx, is_native, load_native
from descant.model.partial_attention import (
    AttentionKernel,
    CpuFlashKernel,
    MatmulKernel,
    NativeKernel,
    Partial,
    choose_kernel,
    merge,
)
from descant.model.quantization import quantize_channels, to_byte_tiles
from descant.model.storage import default_cache_dir, replaced
from descant.model.transformer import Attend, LayerAdapters, Transformer
from descant.model.weights import LoadedModel, check_source, load_model, named_weights

__all__ = [
    "SITE_MODULES",
    "Activation",
    "Attend",
    "AttentionKernel",
    "CpuFlashKernel",
    "DenseCausal",
    "LayerAdapters",
    "Linear",
    "LoadedModel",
    "LoraAdapter",
    "LoraPair",
    "MatmulKernel",
    "ModelConfig",
    "Module",
    "NativeKernel",
    "OutputScale",
    "Partial",
    "RopeConfig",
    "SingleAdapter",
    "Site",
    "Transformer",
    "adapter_pair",
    "adapter_tensors",
    "content_hash",
    "default_cache_dir",
    "check_source",
    "choose_kernel",
    "find_invocation",
    "fuse",
    "has_amx",
    "is_native",
    "load_adapter",
    "load_model",
    "load_native",
    "quantize_channels",
    "merge",
    "named_weights",
    "replaced",
    "save_adapter",
    "to_byte_tiles",
    "to_tiles",
]
