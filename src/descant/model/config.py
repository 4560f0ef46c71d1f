"""The shape of a Llama-family model, as its ``config.json`` states it.

In: the settings of a Hugging Face ``config.json``. Out: a frozen `ModelConfig` with every number the
forward pass needs. A setting that would change the result and is not implemented is refused by name;
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from descant.schema.errors import InvalidModel

Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""A linear layer as PEFT and Hugging Face name it."""

Site = Literal["qkv", "o", "gate_up", "down"]
"""A linear layer as the forward pass runs it: modules with the same input are one product."""

SITE_MODULES: Mapping[Site, tuple[Module, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
"""The modules of each site, in the order in which their outputs stand beside each other."""

RopeScaling = Literal["linear", "llama3"]

_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding: base frequency and how it is stretched for longer contexts."""

    theta: float
    scaling: RopeScaling | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192


@dataclass(frozen=True)
class ModelConfig:
    """Every number that the forward pass of a Llama-family model needs."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope: RopeConfig
    norm_eps: float
    max_positions: int
    """The longest context this model reads exactly, in tokens. A model with a sliding window is
    exact up to the window and is not read beyond it, so this is never more than the window."""
    tie_embeddings: bool
    qkv_bias: bool = False
    """Qwen2."""
    qk_norm: bool = False
    """Qwen3."""
    sliding_window: int | None = None

    def in_features(self, module: Module) -> int:
        """Return the input width of a linear layer."""
        if module == "o_proj":
            return self.num_heads * self.head_dim
        return self.intermediate_size if module == "down_proj" else self.hidden_size

    def out_features(self, module: Module) -> int:
        """Return the output width of a linear layer."""
        if module == "q_proj":
            return self.num_heads * self.head_dim
        if module in ("k_proj", "v_proj"):
            return self.num_kv_heads * self.head_dim
        return self.intermediate_size if module in ("gate_proj", "up_proj") else self.hidden_size

    @classmethod
    def from_hf(cls, settings: Mapping[str, Any]) -> ModelConfig:
        """Read the settings of a ``config.json``.

        Raises:
            InvalidModel: names a field that is missing, malformed or not implemented.
        """
        _refuse_unsupported(settings)
        heads = _integer(settings, "num_attention_heads")
        hidden = _integer(settings, "hidden_size")
        positions = _integer(settings, "max_position_embeddings")
        window = _sliding_window(settings)
        kv_heads = _integer(settings, "num_key_value_heads", heads)
        if heads % kv_heads:
            raise _invalid("num_key_value_heads", f"{kv_heads} does not divide {heads} query heads")
        return cls(
            vocab_size=_integer(settings, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_integer(settings, "intermediate_size"),
            num_layers=_integer(settings, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=_integer(settings, "head_dim", hidden // heads),
            rope=_rope(settings, positions),
            norm_eps=_number(settings, "rms_norm_eps", 1e-6),
            max_positions=positions if window is None else min(positions, window),
            tie_embeddings=bool(settings.get("tie_word_embeddings", False)),
            qkv_bias=settings["model_type"] == "qwen2",
            qk_norm=settings["model_type"] == "qwen3",
            sliding_window=window,
        )


def _refuse_unsupported(settings: Mapping[str, Any]) -> None:
    model_type = settings.get("model_type")
    if model_type not in _ARCHITECTURES:
        raise InvalidModel(
            f"config.json: model_type {model_type!r} is not supported.",
            field="model_type",
            remedy=f"Supported: {', '.join(_ARCHITECTURES)}.",
        )
    if settings.get("hidden_act", "silu") != "silu":
        raise _invalid("hidden_act", f"{settings['hidden_act']!r} is not supported, only 'silu'")
    for field in ("attention_bias", "mlp_bias", "quantization_config"):
        if settings.get(field):
            raise _invalid(field, f"{settings[field]!r} is not supported")


def _sliding_window(settings: Mapping[str, Any]) -> int | None:
    if settings.get("sliding_window") is None:
        return None
    if settings["model_type"].startswith("qwen") and not settings.get("use_sliding_window"):
        return None
    return _integer(settings, "sliding_window")


def _rope(settings: Mapping[str, Any], max_positions: int) -> RopeConfig:
    # transformers 5 writes one table "rope_parameters"; before it, theta stood outside "rope_scaling".
    table = _table(settings, "rope_scaling") | _table(settings, "rope_parameters")
    theta = _number({**settings, **table}, "rope_theta", 10_000.0)
    kind = table.get("rope_type", table.get("type", "default"))
    if table.get("partial_rotary_factor", settings.get("partial_rotary_factor", 1.0)) != 1.0:
        raise _invalid("partial_rotary_factor", "only 1.0 is supported")
    if kind == "default":
        return RopeConfig(theta)
    if kind == "linear":
        return RopeConfig(theta, "linear", _number(table, "factor"))
    if kind == "llama3":
        return RopeConfig(
            theta,
            "llama3",
            _number(table, "factor"),
            _number(table, "low_freq_factor"),
            _number(table, "high_freq_factor"),
            _integer(table, "original_max_position_embeddings", max_positions),
        )
    raise _invalid("rope_scaling", f"rope_type {kind!r} is not supported, only linear and llama3")


def _table(settings: Mapping[str, Any], field: str) -> dict[str, Any]:
    table = {} if settings.get(field) is None else settings[field]
    # A table of tables is one per kind of layer, which none of the supported models has.
    if not isinstance(table, dict) or any(isinstance(value, dict) for value in table.values()):
        raise _invalid(field, f"{table!r} is not a table of numbers")
    return table


def _integer(settings: Mapping[str, Any], field: str, default: int | None = None) -> int:
    value = settings.get(field)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _invalid(field, f"{value!r} is not a positive whole number")
    return value


def _number(settings: Mapping[str, Any], field: str, default: float | None = None) -> float:
    value = settings.get(field)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise _invalid(field, f"{value!r} is not a positive number")
    return float(value)


def _invalid(field: str, reason: str) -> InvalidModel:
    return InvalidModel(f"config.json: {field}: {reason}.", field=field)
