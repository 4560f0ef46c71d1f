from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType

from descant.model import RopeConfig, load_model
from descant.model.gguf_file import GgufFile
from descant.model.transformer import rope_frequencies
from descant.schema.errors import InvalidModel, ModelNotFound
from tests.model.gguf_model import write_gguf
from tests.model.reference import hf_logits, hf_model, our_logits, token_ids

F32 = GGMLQuantizationType.F32


@pytest.mark.parametrize("family", ["llama2", "linear rope", "smollm2", "qwen2", "qwen3"])
def test_logits_equal_those_of_the_model_it_was_made_from(family: str, tmp_path: Path) -> None:
    reference = hf_model(family)
    path = write_gguf(reference, tmp_path / "model.gguf")
    loaded = load_model(path, torch.float32, cache_dir=tmp_path / "cache")
    expected = hf_logits(reference, token_ids())
    assert (our_logits(loaded.model, token_ids()) - expected).abs().max() <= 1e-3


def test_llama3_scaling_is_read_from_the_factors_it_left(tmp_path: Path) -> None:
    rope = RopeConfig(10_000.0, "llama3", 8.0, 1.0, 4.0, 8192)
    factors = rope_frequencies(RopeConfig(10_000.0), 16) / rope_frequencies(rope, 16)
    path = write_gguf(
        hf_model("llama2"),
        tmp_path / "a.gguf",
        F32,
        {"rope_freqs.weight": factors.numpy()},
    )
    assert load_model(path, torch.float32, cache_dir=tmp_path).config.rope == rope
    odd = np.linspace(1, 8, 8, dtype=np.float32)
    path = write_gguf(hf_model("llama2"), tmp_path / "b.gguf", F32, {"rope_freqs.weight": odd})
    with pytest.raises(InvalidModel, match="rope_freqs"):
        load_model(path, torch.float32, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        (GGMLQuantizationType.F16, 1e-3),
        (GGMLQuantizationType.Q8_0, 0.01),
        (GGMLQuantizationType.Q4_1, 0.15),
    ],
)
def test_quantized_weights_come_back_nearly(
    kind: GGMLQuantizationType, tolerance: float, tmp_path: Path
) -> None:
    reference = hf_model("smollm2")
    path = write_gguf(reference, tmp_path / "model.gguf", kind)
    tensors = dict(GgufFile(path).tensors())
    for name, weight in reference.state_dict().items():
        if name != "lm_head.weight":
            assert (tensors[name] - weight).abs().max() <= tolerance * weight.abs().max(), name


def test_numbers_are_read_as_they_were_meant(tmp_path: Path) -> None:
    settings = GgufFile(write_gguf(hf_model("smollm2"), tmp_path / "model.gguf")).settings()
    assert settings["rms_norm_eps"] == 1e-5
    assert settings["tie_word_embeddings"] is True and settings["eos_token_id"] == 0


def test_the_hash_and_the_tokenizer_folder_stay_with_the_file(tmp_path: Path) -> None:
    path = write_gguf(hf_model("smollm2"), tmp_path / "a.gguf")
    first = load_model(path, cache_dir=tmp_path / "cache")
    again = load_model(path.rename(tmp_path / "b.gguf"), cache_dir=tmp_path / "cache")
    other = load_model(
        write_gguf(hf_model("smollm2", seed=1), tmp_path / "c.gguf"), cache_dir=tmp_path / "cache"
    )
    assert (first.base_hash, first.folder) == (again.base_hash, again.folder)
    assert first.base_hash != other.base_hash and first.folder != other.folder
    assert (first.folder / "tokenizer.json").is_file()


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere\.gguf"):
        load_model(tmp_path / "nowhere.gguf", cache_dir=tmp_path)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(part: float, tmp_path: Path) -> None:
    path = write_gguf(hf_model("smollm2"), tmp_path / "model.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InvalidModel, match=r"model\.gguf.*not a whole GGUF file"):
        load_model(path, cache_dir=tmp_path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(InvalidModel, match="not a whole GGUF file"):
        load_model(path, cache_dir=tmp_path)


def test_unknown_tensors_are_refused(tmp_path: Path) -> None:
    more = {"blk.0.ffn_gate_exps.weight": np.zeros((2, 2), np.float32)}
    path = write_gguf(hf_model("smollm2"), tmp_path / "model.gguf", F32, more)
    with pytest.raises(InvalidModel, match="ffn_gate_exps"):
        load_model(path, cache_dir=tmp_path)
