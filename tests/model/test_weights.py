from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.model import load_model
from descant.schema.errors import InvalidModel, ModelNotFound, NetworkUnavailable
from tests.model.reference import hf_model, our_logits, save_hf_model, token_ids

WEIGHTS = "model.safetensors"
NOT_FOUND = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_hf_model(hf_model("llama2"), tmp_path / "model")


def test_sharded_and_whole_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    shards = save_hf_model(hf_model("llama2"), tmp_path / "shards", max_shard_size="100KB")
    assert len(list(shards.glob("*.safetensors"))) > 1 and not (shards / WEIGHTS).exists()
    whole = load_model(folder, torch.float32).model
    sharded = load_model(shards, torch.float32).model
    assert torch.equal(our_logits(sharded, token_ids()), our_logits(whole, token_ids()))


def test_the_hash_is_of_weights_and_settings_and_not_of_the_place(folder: Path) -> None:
    first = load_model(folder, torch.float32).base_hash
    moved = folder.rename(folder.with_name("moved"))
    assert load_model(moved, torch.bfloat16).base_hash == first
    _change_settings(moved, transformers_version="0", use_cache=False)
    assert load_model(moved).base_hash == first
    _change_settings(moved, rope_parameters={"rope_type": "default", "rope_theta": 20000.0})
    assert load_model(moved).base_hash != first
    other = save_hf_model(hf_model("llama2", seed=1), folder.with_name("other"))
    assert load_model(other).base_hash != first


def test_a_tied_model_ignores_a_head_in_the_file(tmp_path: Path) -> None:
    folder = save_hf_model(hf_model("smollm2"), tmp_path)
    expected = our_logits(load_model(folder, torch.float32).model, token_ids())
    _rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(120, 64)}))
    assert torch.equal(our_logits(load_model(folder, torch.float32).model, token_ids()), expected)


NORM = "model.layers.1.input_layernorm.weight"
BAD: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "missing": (lambda tensors: tensors.pop(NORM), NORM),
    "unknown": (lambda tensors: tensors.update({"model.extra.weight": torch.zeros(1)}), "extra"),
    "shape": (lambda tensors: tensors.update({NORM: torch.zeros(65)}), NORM),
    "a bias": (
        lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}),
        "q_proj.bias",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_tensor_is_named(case: str, folder: Path) -> None:
    change, name = BAD[case]
    _rewrite(folder, change)
    with pytest.raises(InvalidModel, match=name) as caught:
        load_model(folder, torch.float32)
    assert str(folder) in str(caught.value)
    assert caught.value.field is not None and name in caught.value.field


def test_a_file_cut_short_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(InvalidModel, match=r"model\.safetensors: not a whole safetensors file"):
        load_model(folder)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidModel, match="Only safetensors are read"):
        load_model(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards = save_hf_model(hf_model("llama2"), tmp_path, max_shard_size="100KB")
    gone = sorted(shards.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(InvalidModel, match=gone.name):
        load_model(shards)


def test_an_index_does_not_lead_out_of_the_folder(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidModel, match="outside"):
        load_model(folder)


@pytest.mark.parametrize("content", ["{", "[]", None])
def test_settings_that_cannot_be_read_are_named(content: str | None, folder: Path) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(InvalidModel, match=r"config\.json"):
        load_model(folder)


def test_a_model_beyond_all_memory_is_refused(folder: Path) -> None:
    _change_settings(folder, vocab_size=10**15)
    with pytest.raises(InvalidModel, match="does not fit into the memory of 'cpu'"):
        load_model(folder)


def test_what_is_no_model_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="smollm2-135m-instruct"):
        load_model("no-such-model")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LocalEntryNotFoundError("offline"), NetworkUnavailable),
        (httpx.ConnectError("no route"), NetworkUnavailable),
        (
            RepositoryNotFoundError("404", response=NOT_FOUND),
            ModelNotFound,
        ),
    ],
    ids=["offline", "cut off", "unknown"],
)
def test_a_name_that_cannot_be_fetched_says_why(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(expected, match="owner/model"):
        load_model("owner/model")


def test_a_name_is_fetched_without_pickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert load_model("owner/model").folder == folder
    [(name, patterns)] = asked
    assert name == "owner/model" and not any("bin" in pattern for pattern in patterns)


def _rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    (folder / WEIGHTS).unlink()
    save_file(tensors, folder / WEIGHTS)


def _change_settings(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
