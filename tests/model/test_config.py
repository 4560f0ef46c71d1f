from __future__ import annotations

from typing import Any

import pytest

from descant.model import ModelConfig, RopeConfig
from descant.schema.errors import InvalidModel

SETTINGS: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def test_the_older_form_of_rope_settings_means_the_same() -> None:
    table = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    older = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **table}}
    newer = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **table}}
    expected = RopeConfig(5e5, "llama3", 8.0, 1.0, 4.0, 64)
    assert ModelConfig.from_hf(SETTINGS | older).rope == expected
    assert ModelConfig.from_hf(SETTINGS | newer).rope == expected


def test_a_sliding_window_is_the_longest_context() -> None:
    mistral = SETTINGS | {"model_type": "mistral", "sliding_window": 100}
    assert ModelConfig.from_hf(mistral).max_positions == 100
    qwen = SETTINGS | {"model_type": "qwen2", "sliding_window": 100}
    assert ModelConfig.from_hf(qwen | {"use_sliding_window": False}).max_positions == 512
    assert ModelConfig.from_hf(qwen | {"use_sliding_window": True}).max_positions == 100


def test_null_settings_take_their_defaults() -> None:
    config = ModelConfig.from_hf(SETTINGS | {"head_dim": None, "num_key_value_heads": None})
    assert (config.head_dim, config.num_kv_heads) == (8, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "gpt2"),
        ("model_type", None),
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("quantization_config", {"bits": 4}),
        ("vocab_size", None),
        ("vocab_size", "many"),
        ("num_hidden_layers", 0),
        ("hidden_size", True),
        ("num_key_value_heads", 3),
        ("rms_norm_eps", -1.0),
        ("partial_rotary_factor", 0.5),
        ("rope_scaling", "linear"),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
    ],
)
def test_a_wrong_or_unsupported_setting_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidModel) as caught:
        ModelConfig.from_hf(SETTINGS | {field: value})
    assert caught.value.field == field and field in str(caught.value)


@pytest.mark.parametrize(
    "scaling",
    [{"rope_type": "yarn", "factor": 4.0}, {"type": "dynamic", "factor": 2.0}],
)
def test_other_rope_scalings_are_refused(scaling: dict[str, Any]) -> None:
    with pytest.raises(InvalidModel, match=r"rope_scaling.*(yarn|dynamic)"):
        ModelConfig.from_hf(SETTINGS | {"rope_scaling": scaling})
