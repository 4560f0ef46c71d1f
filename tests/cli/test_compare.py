"""``descant compare``: variants side by side, within a budget, done once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_app import run
from tests.cli.tiny_folder import write_calls, write_indicators, write_model, write_recipe

SETTINGS = "rank = 2\nepochs = 1\nmin_steps = 1\nbatch_conversations = 4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_indicators(tmp_path / "indicators")
    write_calls(tmp_path / "train.jsonl", 16)
    write_calls(tmp_path / "test.jsonl", 12)
    write_recipe(tmp_path / "recipe.toml", SETTINGS)
    return tmp_path


def compare(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    named = ("--test", str(folder / "test.jsonl"), "--output", str(folder / "compare"))
    assert run("compare", str(folder / "recipe.toml"), *named, "--json", *more) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_ranks_are_trained_once_and_judged_on_the_same_conversations(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = ("--rank", "2", "--rank", "4")
    first = compare(folder, capsys, *ranks, "--price-per-hour", "3.6")
    small, large = first["variants"]
    assert (small["name"], large["name"]) == ("model-rank-2", "model-rank-4")
    assert large["adapter_bytes"] > small["adapter_bytes"] > 0
    assert small["base_parameters"] == large["base_parameters"] > 0
    assert small["money_per_1000"] == pytest.approx(small["score_s"])
    assert max(one["less_the_best"]["value"] for one in first["variants"]) == 0
    assert first["good_enough"] in {"model-rank-2", "model-rank-4"}

    weights = folder / "compare/model-rank-2/adapters/polite/adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    again = compare(folder, capsys, *ranks)
    assert weights.stat().st_mtime_ns == written
    assert [one["macro_f1"] for one in again["variants"]] == [
        one["macro_f1"] for one in first["variants"]
    ]


def test_other_training_data_is_another_comparison(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(folder, capsys)
    weights = folder / "compare/model-rank-2/adapters/polite/adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    write_calls(folder / "train.jsonl", 20)
    compare(folder, capsys)
    assert weights.stat().st_mtime_ns != written


def test_what_the_budget_has_no_room_for_is_left_out_and_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(folder, capsys, "--budget-s", "0")
    [only] = found["variants"]
    assert only["left_out"]["remaining_s"] == 0
    assert only["left_out"]["estimated_s"] > 0
    assert found["good_enough"] is None
    assert not (folder / "compare/model-rank-2").exists()


def test_the_table_answers_the_question(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ("--test", str(folder / "test.jsonl"), "--output", str(folder / "compare"))
    assert run("compare", str(folder / "recipe.toml"), *named) == 0
    out = capsys.readouterr().out
    assert "Good enough: model-rank-2" in out
    assert "1,000 of them" not in out


def test_what_was_learned_from_is_not_judged_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", str(folder / "recipe.toml"), "--test", str(folder / "train.jsonl")) == 2
    assert "is in the training data" in " ".join(capsys.readouterr().err.split())


def test_a_recipe_of_another_method_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(folder / "recipe.toml", SETTINGS, 'method = "lora"')
    assert run("compare", str(folder / "recipe.toml"), "--test", str(folder / "test.jsonl")) == 2
    assert "one_pass" in capsys.readouterr().err
