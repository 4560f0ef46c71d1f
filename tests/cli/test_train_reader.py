"""A recipe with a reader: trained once, then part of the ground for every later run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.llm import LLM
from descant.schema import load_indicators
from tests.cli.test_app import run
from tests.cli.tiny_folder import calls, write_calls, write_indicators, write_model, write_recipe

SETTINGS = "rank = 4\nalpha = 8.0\nepochs = 2\nmin_steps = 1\nbatch_conversations = 4\nlearning_rate = 0.01\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_indicators(tmp_path / "indicators")
    write_calls(tmp_path / "train.jsonl", 12)
    return tmp_path


def test_a_reader_is_trained_once_and_shared_from_then_on(folder: Path) -> None:
    recipe = write_recipe(folder / "recipe.toml", SETTINGS, 'reader = "reader"')
    assert run("train", str(recipe)) == 0
    weights = (folder / "reader" / "adapter_model.safetensors").read_bytes()
    assert run("train", str(recipe), "--output", str(folder / "later")) == 0
    assert (folder / "reader" / "adapter_model.safetensors").read_bytes() == weights
    llm = LLM(str(folder / "model"), adapters=folder / "adapters")
    asked = load_indicators(folder / "indicators")
    readers = {id(llm.adapter(indicator.adapter).reader) for indicator in asked}
    assert len(readers) == 1
    card = llm.score(calls("new", 1)[0].transcript, asked)
    assert all(answer.unanswered is None for answer in card.answers)
    # One reading for both, under the reader.
    alone = LLM(str(folder / "model"), adapters=folder / "adapters")
    once = alone.score(calls("new", 1)[0].transcript, asked[:1])
    assert card.usage.tokens_read < 2 * once.usage.tokens_read


def test_a_reader_has_no_place_beside_other_methods(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(folder / "recipe.toml", SETTINGS, 'reader = "reader"\nmethod = "lora"')
    assert run("train", str(recipe)) == 2
    assert "Leave the reader out" in capsys.readouterr().err
    assert not (folder / "reader").exists()


def test_a_recipe_can_set_conversations_apart_to_judge_by(folder: Path) -> None:
    write_calls(folder / "dev.jsonl", 8)
    text = write_recipe(folder / "recipe.toml", SETTINGS).read_text()
    (folder / "recipe.toml").write_text(text.replace("[data]", '[data]\ndev = "dev.jsonl"'))
    assert run("train", str(folder / "recipe.toml")) == 0
    manifest = json.loads((folder / "adapters" / "polite" / "manifest.json").read_text())
    assert manifest["metrics"]["dev_loss"] > 0
