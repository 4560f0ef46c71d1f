"""Reads a GGUF file as if it were a Hugging Face folder: settings and tensors under their names there.

Quantized tensors are dequantized one at a time. llama.cpp stores the rows of q and k in another order
for its ``llama`` architecture; they are put back. Knows nothing of tokenizers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.model.config import RopeConfig
from descant.model.transformer import rope_frequencies
from descant.schema.errors import InvalidModel, ModelNotFound

_ARCHITECTURES = ("llama", "qwen2", "qwen3")

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}

_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

# Llama 3.1 and later write the result of their rope scaling, not its settings; these are the settings.
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL_POSITIONS = 8192


class GgufFile:
    """One GGUF file, open for reading.

    Raises:
        ModelNotFound: there is no such file.
        InvalidModel: the file is not GGUF, is cut short, or its architecture is not supported.
    """

    def __init__(self, path: Path):
        from gguf import GGUFReader

        if not path.is_file():
            raise ModelNotFound(f"No file {path}.", field="model")
        self.path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise InvalidModel(
                f"{path}: not a whole GGUF file: {error}.", remedy="Download or copy it again."
            ) from error
        self._fields: dict[str, Any] = {}
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.architecture = self._architecture()

    def field(self, key: str, default: Any = None) -> Any:
        """Return a metadata value as plain Python, or the default if the file has no such key."""
        if key not in self._reader.fields:
            return default
        if key not in self._fields:
            try:
                self._fields[key] = self._reader.fields[key].contents()
            except UnicodeDecodeError as error:
                raise InvalidModel(f"{self.path}: {key}: not text: {error}.", field=key) from error
        return self._fields[key]

    def settings(self) -> dict[str, Any]:
        """Return what the model's ``config.json`` would say.

        Raises:
            InvalidModel: names a metadata key that is missing or not supported.
        """
        heads = self._number("attention.head_count")
        width = self._number("embedding_length")
        head_dim = self._own("attention.key_length", width // heads)
        if self._own("rope.dimension_count", head_dim) != head_dim:
            raise self._invalid("rope.dimension_count", "rotating part of a head is not supported")
        embedding = self._tensor("token_embd.weight")
        return {
            "architectures": [f"{self.architecture.capitalize()}ForCausalLM"],
            "model_type": self.architecture,
            "vocab_size": int(embedding.shape[-1]),
            "hidden_size": width,
            "intermediate_size": self._number("feed_forward_length"),
            "num_hidden_layers": self._number("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._own("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self._number("context_length"),
            "rms_norm_eps": _shortest(self._number("attention.layer_norm_rms_epsilon")),
            "rope_theta": _shortest(self._own("rope.freq_base", 10_000.0)),
            "rope_scaling": self._rope_scaling(head_dim),
            "tie_word_embeddings": "output.weight" not in self._tensors,
            "sliding_window": self._own("attention.sliding_window"),
            "bos_token_id": self.field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.field("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.field("tokenizer.ggml.padding_token_id"),
        }

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each tensor, dequantized to float32, under its Hugging Face name.

        Raises:
            InvalidModel: names a tensor that is unknown or quantized in an unsupported way.
        """
        for name in self._tensors:
            if name != "rope_freqs.weight":
                yield self._hf_name(name), torch.from_numpy(self._restored_rows(name))

    def _architecture(self) -> str:
        architecture = self.field("general.architecture")
        if architecture not in _ARCHITECTURES:
            raise InvalidModel(
                f"{self.path}: architecture {architecture!r} is not supported.",
                field="general.architecture",
                remedy=f"Supported: {', '.join(_ARCHITECTURES)}.",
            )
        return str(architecture)

    def _own(self, key: str, default: Any = None) -> Any:
        return self.field(f"{self.architecture}.{key}", default)

    def _number(self, key: str) -> Any:
        value = self._own(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._invalid(key, f"{value!r} is not a number")
        return value

    def _rope_scaling(self, head_dim: int) -> dict[str, Any] | None:
        if "rope_freqs.weight" in self._tensors:
            return self._llama3_scaling(head_dim)
        kind = self._own("rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind != "linear":
            raise self._invalid("rope.scaling.type", f"{kind!r} is not supported, only linear")
        return {"rope_type": "linear", "factor": self._number("rope.scaling.factor")}

    def _llama3_scaling(self, head_dim: int) -> dict[str, Any]:
        divisors = torch.from_numpy(self._values("rope_freqs.weight"))
        theta, factor = self._own("rope.freq_base", 10_000.0), float(divisors.max())
        scaled = RopeConfig(
            theta,
            "llama3",
            factor,
            **_LLAMA3_ROPE,
            original_max_positions=_LLAMA3_ORIGINAL_POSITIONS,
        )
        expected = rope_frequencies(RopeConfig(theta), head_dim) / rope_frequencies(
            scaled, head_dim
        )
        if divisors.shape != expected.shape or not torch.allclose(divisors, expected, rtol=1e-3):
            raise InvalidModel(
                f"{self.path}: rope_freqs.weight is not a Llama 3 scaling.",
                field="rope_freqs.weight",
            )
        original = {"original_max_position_embeddings": _LLAMA3_ORIGINAL_POSITIONS}
        return {"rope_type": "llama3", "factor": factor, **_LLAMA3_ROPE, **original}

    def _hf_name(self, name: str) -> str:
        if name in _TOP:
            return _TOP[name]
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if match is None or match[2] not in _IN_LAYER:
            raise InvalidModel(f"{self.path}: unknown tensor {name}.", field=name)
        return f"model.layers.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"

    def _restored_rows(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        values = self._values(name)
        if self.architecture != "llama" or not re.search(r"attn_[qk]\.", name):
            return values
        heads = self._number("attention.head_count")
        if "attn_k." in name:
            heads = self._own("attention.head_count_kv", heads)
        pairs = values.reshape(heads, -1, 2, *values.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))

    def _values(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        from gguf.quants import dequantize

        tensor = self._tensor(name)
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise InvalidModel(f"{self.path}: {name}: {error}.", field=name) from error
        # The file is mapped read-only; float32 tensors come back as views into it.
        return np.array(values, dtype=np.float32)

    def _tensor(self, name: str) -> Any:
        if name not in self._tensors:
            raise InvalidModel(f"{self.path}: tensor {name} is missing.", field=name)
        return self._tensors[name]

    def _invalid(self, key: str, reason: str) -> InvalidModel:
        field = f"{self.architecture}.{key}"
        return InvalidModel(f"{self.path}: {field}: {reason}.", field=field)


def _shortest(value: float) -> float:
    # GGUF keeps float32, so 1e-5 comes back as 9.999999747e-06; its shortest form is what was meant.
    return float(str(np.float32(value)))
