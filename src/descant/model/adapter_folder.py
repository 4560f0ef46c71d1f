"""Reads and writes adapters in PEFT's format: ``adapter_config.json`` and ``adapter_model.safetensors``.

Reading is strict: every tensor the settings call for must be there, of the right shape and finite, and
no other. Nothing that could carry code is opened. Writing is all or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from descant.model.adapter_config import MODULE_PATHS, AdapterSettings, settings_of
from descant.model.config import ModelConfig, Module
from descant.model.dora import output_scales
from descant.model.lora import LoraAdapter, LoraPair
from descant.model.storage import locked, remove_leftovers, replaced, write_json
from descant.model.transformer import Transformer
from descant.schema.errors import AdapterNotFound, InvalidAdapter

_CONFIG, _WEIGHTS, _MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_READER = "reader"
"""A folder in the adapter's own, in the same format."""
_A, _B, _MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def load_adapter(
    folder: Path,
    config: ModelConfig,
    dtype: torch.dtype = torch.float32,
    base_hash: str | None = None,
    name: str | None = None,
    *,
    model: Transformer | None = None,
    activation_delay: Literal[0, 1] = 0,
) -> LoraAdapter:
    """Read an adapter folder as PEFT writes it.

    `base_hash` is that of the model it is to run on: an adapter whose manifest names another is
    refused. `model` is that model itself, which only DoRA needs. `activation_delay` 1 is for files
    of IBM's first aLoRA package.

    Raises:
        AdapterNotFound: there is no such folder.
        InvalidAdapter: names the file and the setting or tensor that is wrong.
    """
    if not folder.is_dir():
        raise AdapterNotFound(f"No adapter folder {folder}.", field="adapter")
    _refuse_pickles(folder)
    settings = AdapterSettings(folder / _CONFIG, _read_json(folder / _CONFIG), config)
    stored = _read_weights(folder / _WEIGHTS, settings, config)
    tokens = settings.invocation_tokens
    reader = _load_reader(folder / _READER, config, dtype)
    if reader is not None and tokens is None:
        raise InvalidAdapter(
            f"{folder}: a plain LoRA reads for itself and has no use for a reader.", field=_READER
        )
    return LoraAdapter(
        name=folder.name if name is None else name,
        content_hash=content_hash(stored, tokens, activation_delay, reader),
        base_hash=_base_hash(folder, base_hash),
        activation="start" if tokens is None else "invocation",
        invocation_tokens=tokens,
        activation_delay=activation_delay,
        weights={
            place: LoraPair(pair.a.to(dtype), pair.b.to(dtype), pair.scaling, pair.magnitude)
            for place, pair in stored.items()
        },
        output_scales=output_scales(stored, model, folder) if settings.has_magnitudes else {},
        reader=reader,
    )


def _load_reader(folder: Path, config: ModelConfig, dtype: torch.dtype) -> LoraAdapter | None:
    if not folder.is_dir():
        return None
    reader = load_adapter(folder, config, dtype)
    if reader.activation != "start":
        raise InvalidAdapter(
            f"{folder}: a reader acts from the first token on, and this has an invocation.",
            field="alora_invocation_tokens",
        )
    return reader


def save_adapter(
    folder: Path,
    adapter: LoraAdapter,
    base_model: str = "",
    documents: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write an adapter folder that PEFT loads; an older one in its place is replaced as a whole.

    `documents` are further JSON files by name, such as the manifest, that appear together with it.

    Raises:
        InvalidAdapter: the format cannot say what this adapter does.
        StorageFull: the disk is full; an older adapter in its place is untouched.
    """
    if adapter.activation_delay:
        raise InvalidAdapter(
            f"Adapter {adapter.name!r} starts one token late, which PEFT's format cannot say.",
            field="activation_delay",
        )
    with locked(folder):
        remove_leftovers(folder)
        with replaced(folder) as partial:
            _write_files(partial, adapter, base_model)
            if adapter.reader is not None:
                (partial / _READER).mkdir()
                _write_files(partial / _READER, adapter.reader, base_model)
            for name, document in (documents or {}).items():
                write_json(partial / name, document)


def _write_files(folder: Path, adapter: LoraAdapter, base_model: str) -> None:
    tensors = adapter_tensors(adapter.weights)
    write_json(folder / _CONFIG, settings_of(adapter, base_model))
    (folder / _WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def adapter_tensors(weights: Mapping[tuple[int, Module], LoraPair]) -> dict[str, Tensor]:
    """Return matrices, and magnitudes where there are any, by the names that PEFT gives them."""
    tensors: dict[str, Tensor] = {}
    for (layer, module), pair in sorted(weights.items()):
        tensors[_tensor_name(layer, module, _A)] = pair.a
        tensors[_tensor_name(layer, module, _B)] = pair.b
        if pair.magnitude is not None:
            tensors[_tensor_name(layer, module, _MAGNITUDE)] = pair.magnitude
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def adapter_pair(
    tensors: Mapping[str, Tensor], layer: int, module: Module, scaling: float
) -> LoraPair:
    """Return the matrices of one module from tensors by the names that PEFT gives them."""
    a, b = (tensors[_tensor_name(layer, module, kind)] for kind in (_A, _B))
    return LoraPair(a, b, scaling, tensors.get(_tensor_name(layer, module, _MAGNITUDE)))


def content_hash(
    weights: Mapping[tuple[int, Module], LoraPair],
    invocation_tokens: tuple[int, ...] | None,
    activation_delay: int = 0,
    reader: LoraAdapter | None = None,
) -> str:
    """Return ``sha256:…`` over everything that changes an adapter's output, and nothing else."""
    digest = hashlib.sha256(json.dumps([invocation_tokens, activation_delay]).encode())
    if reader is not None:
        digest.update(reader.content_hash.encode())
    for (layer, module), pair in sorted(weights.items()):
        digest.update(f"|{layer} {module} {pair.scaling:.9g}".encode())
        magnitude = [] if pair.magnitude is None else [pair.magnitude]
        for tensor in (pair.a, pair.b, *magnitude):
            digest.update(f"|{tensor.dtype} {tuple(tensor.shape)}|".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return "sha256:" + digest.hexdigest()


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLES:
            raise InvalidAdapter(
                f"{path}: a file that can carry code; such folders are not loaded.",
                field=path.name,
                remedy=f"Save the adapter as {_WEIGHTS} and remove this file.",
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidAdapter(f"{path}: not readable as JSON: {error}.", field=path.name) from error
    if not isinstance(document, dict):
        raise InvalidAdapter(f"{path}: not a JSON object.", field=path.name)
    return document


def _read_weights(
    path: Path, settings: AdapterSettings, config: ModelConfig
) -> dict[tuple[int, Module], LoraPair]:
    tensors = _read_tensors(path)
    weights: dict[tuple[int, Module], LoraPair] = {}
    for layer, module, chosen in settings.modules():
        outputs = config.out_features(module)
        shapes: dict[str, tuple[int, ...]] = {
            _A: (chosen.rank, config.in_features(module)),
            _B: (outputs, chosen.rank),
        }
        if settings.has_magnitudes:
            shapes[_MAGNITUDE] = (outputs,)
        taken = {
            name: _take(path, tensors, name, shape)
            for kind, shape in shapes.items()
            for name in [_tensor_name(layer, module, kind)]
        }
        weights[layer, module] = adapter_pair(taken, layer, module, chosen.scaling)
    if tensors:
        name = min(tensors)
        raise InvalidAdapter(
            f"{path}: tensor {name} is not called for by {_CONFIG}, or the base has no such layer.",
            field=name,
        )
    return weights


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InvalidAdapter(f"{path}: the file is missing.", field=path.name)
    try:
        # Not mapped: whoever writes the file again would change weights that are in use.
        tensors: dict[str, Tensor] = load(path.read_bytes())
    # KeyError: a type of number that PyTorch does not have.
    except (SafetensorError, OSError, KeyError) as error:
        raise InvalidAdapter(
            f"{path}: not a whole safetensors file: {error}.",
            field=path.name,
            remedy="Copy or train it again.",
        ) from error
    return tensors


def _take(path: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = tensors.pop(name, None)
    if tensor is None:
        raise InvalidAdapter(f"{path}: tensor {name} is missing.", field=name)
    if tuple(tensor.shape) != shape:
        raise InvalidAdapter(
            f"{path}: tensor {name} has shape {tuple(tensor.shape)}, expected {shape}.",
            field=name,
            remedy="Load it on the base model it was trained on.",
        )
    if tensor.dtype not in _DTYPES:
        raise InvalidAdapter(
            f"{path}: tensor {name} is of type {tensor.dtype}, which is not supported.", field=name
        )
    if not tensor.isfinite().all():
        raise InvalidAdapter(
            f"{path}: tensor {name} has values that are not finite numbers.", field=name
        )
    return tensor


def _base_hash(folder: Path, running: str | None) -> str | None:
    path = folder / _MANIFEST
    if not path.is_file():
        return None
    trained = _read_json(path).get("base_hash")
    if trained is not None and not isinstance(trained, str):
        raise InvalidAdapter(f"{path}: base_hash is not text.", field="base_hash")
    if trained is not None and running is not None and trained != running:
        raise InvalidAdapter(
            f"{path}: the adapter was trained on base {trained}, this model is {running}.",
            field="base_hash",
            remedy="Load it on the base model it was trained on.",
        )
    return trained


def _tensor_name(layer: int, module: Module, kind: str) -> str:
    return f"base_model.model.model.layers.{layer}.{MODULE_PATHS[module]}.{kind}"
