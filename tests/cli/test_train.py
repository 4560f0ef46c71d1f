"""``descant train``: plans, budgets, first recipes, and what people get wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from descant.data import read_jsonl, write_jsonl
from descant.registry import find_adapters
from descant.schema import LabelledTranscript, Transcript, Turn, load_indicators
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_calls, write_indicators, write_model, write_recipe

SETTINGS = "rank = 2\nepochs = 1\nmin_steps = 1\nbatch_conversations = 4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_indicators(tmp_path / "indicators")
    write_calls(tmp_path / "train.jsonl", 16)
    write_recipe(tmp_path / "recipe.toml", SETTINGS)
    return tmp_path


def relabel(folder: Path, labels: dict[str, str | None]) -> None:
    """Give some calls of train.jsonl other labels for `polite`."""
    path = folder / "train.jsonl"
    rows = [
        LabelledTranscript(
            row.transcript,
            {**row.labels, "polite": labels.get(row.transcript.id, row.labels["polite"])},
        )
        for row in read_jsonl(path)
    ]
    write_jsonl(path, rows)


def different_calls(count: int) -> list[LabelledTranscript]:
    """Return calls of which no two are alike, labelled for both indicators."""
    generator = random.Random(0)
    rows = []
    for at in range(count):
        words = "".join(generator.choice("abcdefghij ") for _ in range(80))
        labels: dict[str, str | None] = {"polite": ("no", "yes")[at % 2]}
        labels["mood"] = ("bad", "fair", "good")[at % 3]
        rows.append(LabelledTranscript(Transcript(f"call-{at}", (Turn("a", words),)), labels))
    return rows


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what went to standard error, on one line: terminals fold long ones."""
    return " ".join(capsys.readouterr().err.split())


def test_a_dry_run_says_what_it_takes_and_trains_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", str(folder / "recipe.toml"), "--dry-run", "--json") == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert plan["conversations"] == 16
    assert plan["left_out"] == []
    assert plan["labels"][1] == {
        "indicator": "polite",
        "counts": {"no": 8, "yes": 8},
        "unlabelled": 0,
        "unknown": [],
    }
    assert plan["tokens"]["steps"] == 4
    assert plan["tokens"]["read_tokens"] == plan["tokens"]["transcript_tokens"]
    assert plan["tokens"]["ratio"] > 1
    assert plan["time_s"] > 0
    assert plan["memory"]["total_bytes"] > plan["memory"]["weights_bytes"] > 0
    assert find_adapters(folder / "adapters") == []


def test_a_dry_run_for_people_names_what_is_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(read_jsonl(folder / "train.jsonl"))
    bare = [LabelledTranscript(Transcript(f"bare-{at}", (Turn("a", "b"),))) for at in range(6)]
    write_jsonl(folder / "train.jsonl", [*rows, *bare])
    assert run("train", "--dry-run", str(folder / "recipe.toml")) == 0
    out, err = capsys.readouterr()
    assert "no 8, yes 8" in out
    assert "without a label for any of the indicators: 6: bare-0," in out
    assert "bare-4, ..." in out
    assert "16 conversations" in out
    assert "one by one" in out
    assert "few conversations to learn from: 'no' 8, 'yes' 8" in err


@pytest.mark.parametrize("limit", ["time_s = 1e-9", "memory_bytes = 1"])
def test_a_run_over_its_budget_is_refused_before_it_begins(
    folder: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(folder / "recipe.toml", f"{SETTINGS}\n[budget]\n{limit}\n")
    assert run("train", str(recipe)) == 2
    assert "over its budget" in said(capsys)
    assert run("train", str(recipe), "--dry-run") == 2
    out, err = capsys.readouterr()
    assert "What it will take" in out
    assert "over its budget" in err
    assert not (folder / "adapters").exists()


def test_a_run_within_its_budget_trains(folder: Path) -> None:
    recipe = write_recipe(folder / "recipe.toml", f"{SETTINGS}\n[budget]\ntime_s = 3600\n")
    assert run("train", "run", str(recipe), "--output", str(folder / "else")) == 0
    assert len(find_adapters(folder / "else")) == 2


def test_part_of_the_data_can_be_kept_apart(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(folder / "train.jsonl", different_calls(16))
    recipe = folder / "recipe.toml"
    text = recipe.read_text().replace("[training]", "dev_share = 0.3\n[training]")
    recipe.write_text(text)
    assert run("train", str(recipe), "--json") == 0
    learned = json.loads(capsys.readouterr().out)["conversations"]
    assert 0 < learned < 16
    write_calls(folder / "dev.jsonl", 4)
    recipe.write_text(text.replace("dev_share = 0.3", 'dev = "dev.jsonl"'))
    assert run("train", str(recipe), "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["conversations"] == 16
    assert "nearly the same" not in err


def test_nearly_the_same_conversation_is_never_on_both_sides(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = folder / "recipe.toml"
    text = recipe.read_text()
    write_calls(folder / "dev.jsonl", 4)
    recipe.write_text(text.replace("[training]", 'dev = "dev.jsonl"\n[training]'))
    assert run("train", str(recipe), "--json") == 0
    assert "train.jsonl: 4: dev-" in said(capsys)
    rows = different_calls(16)
    copies = [
        LabelledTranscript(Transcript(f"copy-{at}", row.transcript.turns), row.labels)
        for at, row in enumerate(rows)
    ]
    write_jsonl(folder / "train.jsonl", [*rows, *copies])
    recipe.write_text(text.replace("[training]", "dev_share = 0.3\n[training]"))
    assert run("train", str(recipe), "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["conversations"] % 2 == plan["dev_conversations"] % 2 == 0
    assert plan["dev_conversations"] > 0


def test_a_conversation_in_both_splits_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[training]", 'dev = "train.jsonl"\n[training]'))
    assert run("train", str(recipe)) == 2
    err = said(capsys)
    assert "16 mistakes." in err
    assert "conversation 'train-15' is in data.train too" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be used")
def test_a_method_that_cannot_be_used_is_refused_before_the_data_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(folder / "recipe.toml", SETTINGS, 'method = "qlora"')
    assert run("train", str(folder / "recipe.toml")) == 2
    assert "QLoRA" in said(capsys)


def test_misspelt_labels_are_all_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relabel(folder, {"train-2": "yse", "train-5": "NO"})
    assert run("train", str(folder / "recipe.toml")) == 2
    err = said(capsys)
    assert "2 mistakes." in err
    assert "'train-2': 'yse' is not a label of 'polite'. Did you mean 'yes'?" in err
    assert "'train-5': 'NO' is not a label of 'polite'. Did you mean 'no'?" in err


def test_one_class_only_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relabel(folder, {f"train-{at}": "no" for at in range(16)})
    assert run("train", str(folder / "recipe.toml")) == 2
    assert "labels.polite: all 16 labels are 'no'" in said(capsys)


def test_five_examples_are_warned_of_and_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_calls(folder / "train.jsonl", 5)
    assert run("train", str(folder / "recipe.toml"), "--json") == 0
    assert "polite: few conversations to learn from: 'no' 2, 'yes' 3" in said(capsys)


def test_labels_without_an_indicator_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "indicators" / "mood.toml").unlink()
    assert run("train", str(folder / "recipe.toml"), "--json") == 0
    assert "mood: 12 labels without an indicator file; not trained" in said(capsys)


def test_conversations_longer_than_the_model_are_all_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folder / "model" / "config.json").read_text())
    config["max_position_embeddings"] = 20
    (folder / "model" / "config.json").write_text(json.dumps(config))
    assert run("train", str(folder / "recipe.toml")) == 2
    err = said(capsys)
    assert "mistakes." in err
    assert "Conversation 'train-0' has" in err
    assert "at most" in err


@pytest.mark.parametrize("command", ["init", "run"])
def test_an_empty_file_is_refused(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.jsonl").write_text("\n")
    name = "train.jsonl" if command == "init" else "recipe.toml"
    more = ["--output", str(folder / "new.toml")] if command == "init" else []
    assert run("train", command, str(folder / name), *more) == 2
    assert "train.jsonl: has no conversation in it." in said(capsys)


def init(folder: Path, *more: str) -> int:
    return run(
        *("train", "init", str(folder / "train.jsonl"), "--model", str(folder / "model")),
        *("--output", str(folder / "work" / "first.toml"), *more),
    )


def test_a_first_recipe_can_be_trained_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(folder / "train.jsonl", different_calls(16))
    assert init(folder) == 0
    out = capsys.readouterr().out
    assert "bad 6, fair 5, good 5" in out
    assert "longest" in out
    assert "Near-duplicates: " in out
    assert "Same text, different labels" in out
    assert "Words that give a label away" in out
    assert "Wrote 2 indicators" in out
    work = folder / "work"
    assert [one.question for one in load_indicators(work / "indicators")] == ["Mood?", "Polite?"]
    assert run("train", str(work / "first.toml"), "--json") == 0
    assert len(find_adapters(work / "runs" / "train" / "adapters")) == 2


def test_a_first_recipe_leaves_what_is_there_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder / "work" / "indicators" / "polite.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text('name = "polite"\nquestion = "Mine?"\nlabels = ["no", "yes"]\n')
    assert init(folder, "--json") == 0
    look = json.loads(capsys.readouterr().out)
    assert look["written"] == [str(mine.with_name("mood.toml"))]
    assert "Mine?" in mine.read_text()
    assert [found["topic"] for found in look["findings"]][:2] == ["conversations", "lengths"]
    assert init(folder) == 2
    assert "first.toml is there already" in said(capsys)


def test_given_indicators_are_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "indicators" / "mood.toml").unlink()
    assert init(folder, "--indicators", str(folder / "indicators"), "--json") == 0
    look = json.loads(capsys.readouterr().out)
    assert [counted["indicator"] for counted in look["inspection"]["balance"]] == ["polite"]
    assert look["written"] == []
    assert 'indicators = "../indicators"' in (folder / "work" / "first.toml").read_text()


def test_names_that_no_indicator_can_have_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        LabelledTranscript(Transcript(str(at), (Turn("a", "b"),)), {"Call Back": str(at % 2)})
        for at in range(4)
    ]
    write_jsonl(folder / "train.jsonl", rows)
    assert init(folder, "--json") == 2
    assert "call_back" in said(capsys)
