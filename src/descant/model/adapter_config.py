"""The settings of an adapter folder: PEFT's ``adapter_config.json``, read strictly and written.

A setting that is known not to change the output is ignored. Any other that is not implemented here is
refused by name as soon as it is switched on, those of later PEFT versions included: an adapter either
runs as PEFT would run it, or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.model.config import ModelConfig, Module
from descant.model.lora import LoraAdapter, LoraPair
from descant.schema.errors import InvalidAdapter

MODULE_PATHS: Mapping[Module, str] = {
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj",
    "gate_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "down_proj": "mlp.down_proj",
}

# Bookkeeping, training only, or without effect unless another setting is on, which is then refused.
_IGNORED = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "inference_mode",
        "lora_dropout",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
    }
)

_READ = frozenset(
    {
        "alora_invocation_tokens",
        "alpha_pattern",
        "bias",
        "exclude_modules",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
    }
)

# Ways of starting that leave the base weights as they are; others (PiSSA, OLoRA, …) change them.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class ModuleSettings:
    """Rank and scaling of one module of one layer."""

    rank: int
    scaling: float


class AdapterSettings:
    """One checked ``adapter_config.json``.

    Raises:
        InvalidAdapter: names a setting that is missing, malformed or not supported.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], config: ModelConfig):
        self._path = path
        self._settings = settings
        self._config = config
        self._check_kind()
        self._check_unsupported()
        self.rank = self._positive_integer("r", settings.get("r", 8))
        self.alpha = self._number("lora_alpha", settings.get("lora_alpha", 8))
        self.rank_pattern = self._pattern("rank_pattern")
        self.alpha_pattern = self._pattern("alpha_pattern")
        self.invocation_tokens = self._invocation()
        self.has_magnitudes = bool(settings.get("use_dora"))
        if self.has_magnitudes and self.invocation_tokens is not None:
            raise self._invalid("use_dora", "is not supported together with an invocation")
        self._check_targets()

    def modules(self) -> Iterator[tuple[int, Module, ModuleSettings]]:
        """Yield every layer and module the adapter changes, as PEFT would choose them.

        Raises:
            InvalidAdapter: there are none, or a module outside the layers is among them.
        """
        found = False
        for layer in range(self._config.num_layers):
            for module, path in MODULE_PATHS.items():
                key = f"model.layers.{layer}.{path}"
                if self._is_target(key, layer):
                    found = True
                    yield layer, module, self._module_settings(key)
        if not found:
            raise self._invalid("target_modules", "matches no linear layer of this model")

    def _module_settings(self, key: str) -> ModuleSettings:
        rank = self._positive_integer("rank_pattern", _lookup(self.rank_pattern, key, self.rank))
        alpha = self._number("alpha_pattern", _lookup(self.alpha_pattern, key, self.alpha))
        divisor = math.sqrt(rank) if self._settings.get("use_rslora") else rank
        return ModuleSettings(rank, alpha / divisor)

    def _check_kind(self) -> None:
        if self._settings.get("peft_type") != "LORA":
            raise self._invalid(
                "peft_type", f"{self._settings.get('peft_type')!r} is not supported, only 'LORA'"
            )
        if self._settings.get("task_type") not in (None, "CAUSAL_LM"):
            raise self._invalid(
                "task_type", f"{self._settings['task_type']!r} is not supported, only 'CAUSAL_LM'"
            )
        if self._settings.get("bias", "none") != "none":
            raise self._invalid("bias", f"{self._settings['bias']!r} is not supported, only 'none'")

    def _check_unsupported(self) -> None:
        for name, value in self._settings.items():
            if name not in _IGNORED and name not in _READ and value:
                raise self._invalid(name, "is not supported yet")
        start = self._settings.get("init_lora_weights", True)
        if start not in _PLAIN_STARTS:
            raise self._invalid(
                "init_lora_weights",
                f"{start!r} changes the base weights; convert the adapter to a plain one",
            )

    def _check_targets(self) -> None:
        targets, excluded = (
            self._settings.get("target_modules"),
            self._settings.get("exclude_modules"),
        )
        if not isinstance(targets, str) and not _is_list(targets, str):
            raise self._invalid("target_modules", "must be a list of names or a pattern")
        if excluded is not None and not isinstance(excluded, str) and not _is_list(excluded, str):
            raise self._invalid("exclude_modules", "must be a list of names or a pattern")
        layers = self._settings.get("layers_to_transform")
        if layers is not None and not isinstance(layers, int) and not _is_list(layers, int):
            raise self._invalid("layers_to_transform", "must be a number or a list of numbers")
        if self._settings.get("layers_pattern") not in (None, "", [], "layers", ["layers"]):
            raise self._invalid("layers_pattern", "must be 'layers', as this model calls them")
        try:
            outside = [
                key for key in ("lm_head", "model.embed_tokens") if self._is_target(key, None)
            ]
        except re.error as error:
            raise self._invalid("target_modules", f"is not a valid pattern: {error}") from error
        if outside:
            raise self._invalid("target_modules", f"{outside[0]} is not supported")

    def _is_target(self, key: str, layer: int | None) -> bool:
        excluded = self._settings.get("exclude_modules")
        if excluded and _matches(excluded, key):
            return False
        targets = self._settings["target_modules"]
        if targets == "all-linear":
            return layer is not None
        if isinstance(targets, str):
            return _matches(targets, key)
        chosen = self._settings.get("layers_to_transform")
        layers = [chosen] if isinstance(chosen, int) else chosen
        # An embedding or a head has no layer and is never among chosen layers.
        return _matches(targets, key) and (not layers or layer in layers)

    def _pattern(self, field: str) -> Mapping[str, Any]:
        pattern = self._settings.get(field) or {}
        if not isinstance(pattern, dict):
            raise self._invalid(field, "must be a table of module pattern to number")
        try:
            for key in pattern:
                re.compile(key)
        except re.error as error:
            raise self._invalid(field, f"{key!r} is not a valid pattern: {error}") from error
        return pattern

    def _invocation(self) -> tuple[int, ...] | None:
        tokens = self._settings.get("alora_invocation_tokens")
        if tokens is None:
            return None
        if not tokens or not _is_list(tokens, int) or any(isinstance(t, bool) for t in tokens):
            raise self._invalid("alora_invocation_tokens", "must be a list of token ids")
        if not all(0 <= token < self._config.vocab_size for token in tokens):
            raise self._invalid("alora_invocation_tokens", "has a token id outside the vocabulary")
        return tuple(tokens)

    def _positive_integer(self, field: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._invalid(field, f"{value!r} is not a positive whole number")
        return value

    def _number(self, field: str, value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise self._invalid(field, f"{value!r} is not a number")
        return float(value)

    def _invalid(self, field: str, reason: str) -> InvalidAdapter:
        return InvalidAdapter(f"{self._path}: {field}: {reason}.", field=field)


def settings_of(adapter: LoraAdapter, base_model: str) -> dict[str, Any]:
    """Return the ``adapter_config.json`` from which PEFT builds this adapter.

    `base_model` is a name or path, for people and for PEFT's own loader.
    """
    pairs = {
        f"model.layers.{layer}.{MODULE_PATHS[module]}": pair
        for (layer, module), pair in sorted(adapter.weights.items())
    }
    first = next(iter(pairs.values()))
    rank, alpha = first.rank, _alpha(first)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": first.magnitude is not None,
        "target_modules": _target_names(adapter, list(pairs)),
        "rank_pattern": {
            re.escape(key): pair.rank for key, pair in pairs.items() if pair.rank != rank
        },
        "alpha_pattern": {
            re.escape(key): _alpha(pair) for key, pair in pairs.items() if _alpha(pair) != alpha
        },
        "alora_invocation_tokens": (
            None if adapter.invocation_tokens is None else list(adapter.invocation_tokens)
        ),
    }


def _alpha(pair: LoraPair) -> int | float:
    # Multiplying and dividing by the rank can change the last bit; alphas are short numbers.
    alpha = round(pair.scaling * pair.rank, 9)
    return int(alpha) if alpha.is_integer() else alpha


def _target_names(adapter: LoraAdapter, keys: list[str]) -> list[str]:
    layers = {layer for layer, _ in adapter.weights}
    modules = {module for _, module in adapter.weights}
    everywhere = layers == set(range(len(layers))) and len(keys) == len(layers) * len(modules)
    return sorted(modules) if everywhere else keys


def _matches(targets: str | list[str], key: str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, key) is not None
    return any(key == target or key.endswith(f".{target}") for target in targets)


def _lookup(pattern: Mapping[str, Any], key: str, default: Any) -> Any:
    for expression, value in pattern.items():
        if re.match(rf"(.*\.)?({expression})$", key):
            return value
    return default


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
