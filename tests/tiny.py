"""A tiny random model and adapters for it: every test that needs tensors starts here."""

from __future__ import annotations

from dataclasses import replace

import torch

from descant.model import (
    SITE_MODULES,
    LoraAdapter,
    LoraPair,
    ModelConfig,
    OutputScale,
    Transformer,
)

INVOCATION = (5, 6)


def tiny_config(**changes: object) -> ModelConfig:
    raw = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        **changes,
    }
    return ModelConfig.from_hf(raw)


def tiny_model(
    seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu", **changes: object
) -> Transformer:
    model = Transformer(tiny_config(**changes), dtype, device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(1.0)
            else:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


def tiny_adapter(
    config: ModelConfig, seed: int, *, plain: bool = False, rank: int = 4, name: str | None = None
) -> LoraAdapter:
    generator = torch.Generator().manual_seed(1000 + seed)
    weights = {}
    for layer in range(config.num_layers):
        for modules in SITE_MODULES.values():
            for module in modules:
                a = torch.randn(rank, config.in_features(module), generator=generator)
                b = torch.randn(config.out_features(module), rank, generator=generator)
                weights[layer, module] = LoraPair(0.3 * a, 0.3 * b, 0.7)
    return LoraAdapter(
        name=name or f"adapter-{seed}",
        content_hash=f"sha256:{seed}-{plain}-{rank}",
        base_hash=None,
        activation="start" if plain else "invocation",
        invocation_tokens=None if plain else INVOCATION,
        activation_delay=0,
        weights=weights,
    )


def tiny_dora(config: ModelConfig, seed: int, rank: int = 4) -> LoraAdapter:
    """A plain adapter that also scales and shifts the output of every second site."""
    adapter = tiny_adapter(config, seed, plain=True, rank=rank, name=f"dora-{seed}")
    generator = torch.Generator().manual_seed(2000 + seed)
    scales = {}
    for layer in range(config.num_layers):
        for site in ("qkv", "down"):
            width = sum(config.out_features(module) for module in SITE_MODULES[site])
            scale, shift = torch.rand(2, width, generator=generator)
            scales[layer, site] = OutputScale(0.5 + scale, 0.3 * shift)
    identity = f"sha256:{seed}-dora-{rank}"
    return replace(adapter, content_hash=identity, output_scales=scales)
