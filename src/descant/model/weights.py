"""Loads a model from wherever it is: a folder, a GGUF file, a Hugging Face name, or the embedded one.

Out: a `Transformer` with its weights, the folder that holds its tokenizer files, and the hash by
which adapters and caches know the base. Every tensor must be there, of the right shape, and known.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from descant.model.config import SITE_MODULES, ModelConfig
from descant.model.embedded import SMOLLM2, unpack_embedded
from descant.model.gguf_file import GgufFile
from descant.model.gguf_tokenizer import tokenizer_files
from descant.model.hub import download_model
from descant.model.safetensors_folder import read_settings, read_tensors, weight_files
from descant.model.storage import (
    default_cache_dir,
    file_hash,
    locked,
    remove_leftovers,
    replaced,
    write_json,
)
from descant.model.transformer import Layer, Transformer
from descant.schema.errors import InvalidModel, ModelNotFound

SourceKind = Literal["gguf", "folder", "embedded", "hub"]
"""Where a model can be."""

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

# Written by older converters; computed here.
_IGNORED = re.compile(r".*rotary_emb\.inv_freq")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, and what belongs to it."""

    model: Transformer
    config: ModelConfig
    base_hash: str
    """``sha256:…`` over the weight files and the settings that change the result."""
    folder: Path
    """Holds ``tokenizer.json`` and the other tokenizer files."""


def load_model(
    source: str | Path,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> LoadedModel:
    """Load a model from a folder, a ``.gguf`` file, a Hugging Face name or an embedded name.

    `cache_dir` is where unpacked files go; ``DESCANT_CACHE`` or the platform's cache by default.

    Raises:
        ModelNotFound: there is nothing at that path or of that name.
        InvalidModel: names the file and the field or tensor that is wrong.
        NetworkUnavailable: a download was needed and could not be made.
        CacheCorrupt: the unpacked model is damaged and cannot be unpacked again.
        StorageFull: the disk is full.
    """
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    kind = check_source(source)
    if kind == "gguf":
        return _load_gguf(Path(source), dtype, device, cache_dir)
    if kind == "folder":
        return _load_folder(Path(source), dtype, device)
    if kind == "embedded":
        return _load_folder(unpack_embedded(SMOLLM2, cache_dir), dtype, device)
    return _load_folder(download_model(str(source)), dtype, device)


def check_source(source: str | Path) -> SourceKind:
    """Return what kind of source this names, without opening or fetching it.

    Raises:
        ModelNotFound: there is nothing at that path, and it is no name.
    """
    path = Path(source)
    if path.suffix == ".gguf":
        return "gguf"
    if path.is_dir():
        return "folder"
    if str(source).lower() == SMOLLM2.name:
        return "embedded"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        return "hub"
    raise ModelNotFound(
        f"No model {str(source)!r}: not a folder, not a .gguf file, not a Hugging Face name.",
        field="model",
        remedy=f"The embedded model is {SMOLLM2.name!r}.",
    )


def fill(model: Transformer, tensors: Iterable[tuple[str, Tensor]], origin: str) -> None:
    """Copy tensors by their Hugging Face names into the fused weights of a model.

    Raises:
        InvalidModel: names a tensor that is missing, unknown or of another shape.
    """
    places = named_weights(model)
    for name, tensor in tensors:
        if _IGNORED.fullmatch(name) or (name == "lm_head.weight" and model.head is None):
            continue
        if name not in places:
            raise InvalidModel(f"{origin}: unknown tensor {name}, or given twice.", field=name)
        place = places.pop(name)
        if tensor.shape != place.shape:
            got, expected = tuple(tensor.shape), tuple(place.shape)
            raise InvalidModel(
                f"{origin}: tensor {name} has shape {got}, expected {expected}.", field=name
            )
        place.copy_(tensor)
    if places:
        name = min(places)
        raise InvalidModel(f"{origin}: tensor {name} is missing.", field=name)


def _load_folder(folder: Path, dtype: torch.dtype, device: str) -> LoadedModel:
    config = ModelConfig.from_hf(read_settings(folder))
    model = _allocate(config, dtype, device)
    fill(model, read_tensors(folder), str(folder))
    return LoadedModel(model, config, base_hash(config, weight_files(folder)), folder)


def _load_gguf(path: Path, dtype: torch.dtype, device: str, cache_dir: Path) -> LoadedModel:
    gguf = GgufFile(path)
    settings = gguf.settings()
    config = ModelConfig.from_hf(settings)
    model = _allocate(config, dtype, device)
    fill(model, gguf.tensors(), str(path))
    identity = base_hash(config, [path])
    folder = cache_dir / "tokenizers" / identity.removeprefix("sha256:")[:32]
    if not folder.is_dir():
        _write_documents(folder, {"config.json": settings, **tokenizer_files(gguf)})
    return LoadedModel(model, config, identity, folder)


def _allocate(config: ModelConfig, dtype: torch.dtype, device: str) -> Transformer:
    try:
        return Transformer(config, dtype, device)
    except (RuntimeError, MemoryError) as error:
        raise InvalidModel(
            f"A model of {config.num_layers} layers and width {config.hidden_size} does not fit into "
            f"the memory of {device!r}: {str(error).splitlines()[0]}.",
            field="model",
            remedy="Use a smaller model or another device.",
        ) from error


def _write_documents(folder: Path, documents: Mapping[str, Mapping[str, Any]]) -> None:
    with locked(folder):
        remove_leftovers(folder)
        with replaced(folder) as partial:
            for name, document in documents.items():
                write_json(partial / name, document)


def base_hash(config: ModelConfig, files: Iterable[Path]) -> str:
    """Return the hash of a base model: its weight files, and the settings not visible in them."""
    rope = config.rope
    settings = [config.num_heads, config.num_kv_heads, config.head_dim, config.norm_eps, rope.theta]
    if rope.scaling is not None:
        settings += [rope.factor, rope.low_freq_factor, rope.high_freq_factor]
    parts = [json.dumps([rope.scaling, *settings]), *(file_hash(file) for file in files)]
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def named_weights(model: Transformer) -> dict[str, Tensor]:
    """Return every weight by its Hugging Face name: views, so that filling them fills the model."""
    places: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embedding,
        "model.norm.weight": model.norm.weight,
    }
    if model.head is not None:
        places["lm_head.weight"] = model.head.weight
    for index, layer in enumerate(model.blocks()):
        prefix = f"model.layers.{index}."
        for name, place in _layer_places(layer).items():
            places[prefix + name] = place
    return places


def _layer_places(layer: Layer) -> dict[str, Tensor]:
    places: dict[str, Tensor] = {
        "input_layernorm.weight": layer.attention_norm.weight,
        "post_attention_layernorm.weight": layer.feed_forward_norm.weight,
    }
    for site, modules in SITE_MODULES.items():
        linear = layer.linear(site)
        names = [f"{'self_attn' if name in _ATTENTION else 'mlp'}.{name}" for name in modules]
        for name, rows in zip(names, torch.split(linear.weight, linear.widths), strict=True):
            places[f"{name}.weight"] = rows
        if linear.bias is not None:
            for name, rows in zip(names, torch.split(linear.bias, linear.widths), strict=True):
                places[f"{name}.bias"] = rows
    for name, norm in (("q_norm", layer.q_norm), ("k_norm", layer.k_norm)):
        if norm is not None:
            places[f"self_attn.{name}.weight"] = norm.weight
    return places
