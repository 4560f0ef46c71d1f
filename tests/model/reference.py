"""Small random models made by transformers itself, one of each supported family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from descant.model import DenseCausal, LayerAdapters, Transformer

VOCABULARY = 120
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    # Far larger than usual: with tiny weights a wrong attention would hardly show in the logits.
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def hf_config(family: str) -> transformers.PretrainedConfig:
    """Return the transformers configuration of one family by name."""
    if family == "llama2":
        return transformers.LlamaConfig(**_SHAPE | {"num_key_value_heads": 4})
    if family == "llama3.1":
        return transformers.LlamaConfig(**_SHAPE, rope_parameters=_LLAMA3_ROPE)
    if family == "linear rope":
        rope = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
        return transformers.LlamaConfig(**_SHAPE, rope_parameters=rope)
    if family == "smollm2":
        return transformers.LlamaConfig(**_SHAPE, tie_word_embeddings=True, rms_norm_eps=1e-5)
    if family == "mistral":
        return transformers.MistralConfig(**_SHAPE, sliding_window=400, head_dim=16)
    if family == "qwen2":
        return transformers.Qwen2Config(**_SHAPE)
    assert family == "qwen3"
    return transformers.Qwen3Config(**_SHAPE, head_dim=32)


FAMILIES = ("llama2", "llama3.1", "linear rope", "smollm2", "mistral", "qwen2", "qwen3")


def hf_model(family: str, seed: int = 0) -> Any:
    """Return a random float32 model whose norms and biases are not at their defaults either."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(hf_config(family)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn_like(weight))
            elif "bias" in name:
                weight.add_(torch.randn_like(weight))
    return model


def save_hf_model(model: Any, folder: Path, **options: Any) -> Path:
    """Write a model as transformers does."""
    model.save_pretrained(folder, **options)
    return folder


def token_ids(length: int = 300, seed: int = 1) -> Tensor:
    """Return random token ids."""
    return torch.randint(2, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))


def hf_logits(model: Any, ids: Tensor) -> Tensor:
    """Return transformers' logits for one sequence."""
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids[None]).logits[0]
    return logits


def our_logits(model: Transformer, ids: Tensor, adapters: LayerAdapters | None = None) -> Tensor:
    """Return our logits for one sequence."""
    with torch.inference_mode():
        hidden = model(ids, torch.arange(len(ids)), DenseCausal(), adapters)
        return model.logits(hidden)
