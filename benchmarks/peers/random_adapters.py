"""Writes PEFT LoRA folders with random weights: speed does not depend on what an adapter has learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ALPHA_OVER_RANK = 2


def write_adapters(folder: Path, config: dict[str, Any], count: int, rank: int) -> list[Path]:
    """Write `count` LoRA adapters of this rank on all seven linear modules; `config` is the base's."""
    shapes = _shapes(config)
    folders = [folder / f"adapter-{index:03d}" for index in range(count)]
    for index, adapter in enumerate(folders):
        if (adapter / "adapter_config.json").exists():
            continue
        adapter.mkdir(parents=True, exist_ok=True)
        weights = _weights(shapes, config["num_hidden_layers"], rank, seed=index)
        save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": ALPHA_OVER_RANK * rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "inference_mode": True,
            "target_modules": [module.split(".")[1] for module in shapes],
            "base_model_name_or_path": "smollm2-135m-instruct",
        }
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
    return folders


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of each linear module of a Llama layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }


def _weights(
    shapes: dict[str, tuple[int, int]], layers: int, rank: int, seed: int
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(layers):
        for module, (inputs, outputs) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            down = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            # Not zero as after PEFT's initialisation, so that every adapter changes the answer.
            up = torch.randn(outputs, rank, generator=generator) * 0.02
            weights[f"{prefix}.lora_A.weight"] = down.bfloat16()
            weights[f"{prefix}.lora_B.weight"] = up.bfloat16()
    return weights
