"""A random model of two layers with a tokenizer, as a Hugging Face folder, and calls to train it on."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from descant.data import write_jsonl
from descant.schema import LabelledTranscript, Transcript, Turn
from tests.text.small import byte_level_description
from tests.text.small import write_folder as write_tokenizer

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD = 32, 48, 4, 2, 8
INDICATORS = {
    "polite": 'question = "Polite?"\nlabels = ["no", "yes"]\n',
    "mood": 'question = "Mood?"\nlabels = ["bad", "fair", "good"]\nkind = "ordinal"\n',
}


def write_model(folder: Path) -> Path:
    write_tokenizer(folder)
    vocab_size = len(byte_level_description()["model"]["vocab"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 16384,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_tensors(vocab_size), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _tensors(vocab_size: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab_size, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for layer in range(2):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "self_attn.q_proj": (HEADS * HEAD, HIDDEN),
                "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
                "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN),
                "self_attn.o_proj": (HIDDEN, HEADS * HEAD),
                "mlp.gate_proj": (FEED_FORWARD, HIDDEN),
                "mlp.up_proj": (FEED_FORWARD, HIDDEN),
                "mlp.down_proj": (HIDDEN, FEED_FORWARD),
                "input_layernorm": (HIDDEN,),
                "post_attention_layernorm": (HIDDEN,),
            }.items()
        }
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.ones(shape)
        if len(shape) == 1
        else 0.2 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


def write_indicators(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, text in INDICATORS.items():
        (folder / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
    return folder


def write_recipe(path: Path, settings: str, more: str = "") -> Path:
    """Write a recipe over what the other functions here write beside it; `more` stands on top."""
    path.write_text(
        f"""{more}
base = "model"
indicators = "indicators"
output = "adapters"

[data]
train = "train.jsonl"

[training]
{settings}"""
    )
    return path


def calls(prefix: str, count: int) -> list[LabelledTranscript]:
    rows = []
    for at in range(count):
        polite = at % 2 == 0
        turns = (Turn("agent", "hello there" if polite else "yes"), Turn("customer", "no"))
        labels: dict[str, str | None] = {
            "polite": "yes" if polite else "no",
            "mood": (None, "bad", "fair", "good")[at % 4],
        }
        rows.append(LabelledTranscript(Transcript(f"{prefix}-{at}", turns), labels))
    return rows


def write_calls(path: Path, count: int) -> Path:
    write_jsonl(path, calls(path.stem, count))
    return path
